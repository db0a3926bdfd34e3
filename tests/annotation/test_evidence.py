import tracemalloc
from dataclasses import astuple

import numpy as np
import pytest
from solos import hiss, solo, tone

from tarkib.annotation import evidence
from tarkib.audio import SAMPLE_RATE
from tarkib.runtime.cache import Cache

pytestmark = pytest.mark.filterwarnings("error")


def bits(heard: evidence.Evidence) -> dict[str, bytes]:
    """Everything heard, to the last bit."""
    return {name: array.tobytes() for name, array in evidence.to_arrays(heard).items()}


def cut(samples: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    """Samples in blocks of these lengths, again and again."""
    blocks, at = [], 0
    while at < len(samples):
        for length in lengths:
            blocks.append(samples[at : at + length])
            at += length
    return blocks


@pytest.mark.parametrize("lengths", [[1_000], [7], [24_001, 1, 0, 90_000], [10**9]], ids=str)
def test_blocks_do_not_matter(lengths):
    samples = solo("shur", 220.0, 100.0, seconds=2.0 if lengths == [7] else 21.3)
    assert bits(evidence.listen(cut(samples, lengths))) == bits(evidence.listen([samples]))


def test_what_is_not_a_number_counts_as_silence():
    samples = tone(220.0, 8.0)
    spoilt, silenced = samples.copy(), samples.copy()
    spoilt[50_000:50_010] = [np.nan, np.inf, -np.inf] * 3 + [np.nan]
    silenced[50_000:50_010] = 0.0
    assert bits(evidence.listen([spoilt])) == bits(evidence.listen([silenced]))
    assert np.isnan(spoilt[50_000])  # the caller's samples are left alone


def test_a_cache_gives_back_every_bit(tmp_path):
    heard = evidence.listen([solo("segah", 220.0, 90.0, seconds=7.0)])
    cache = Cache(tmp_path)
    cache.put("00", evidence.to_arrays(heard))
    again = evidence.from_arrays(cache.get("00"))
    assert bits(again) == bits(heard)
    assert again.seconds == heard.seconds == 7.0
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(astuple(again)[2], heard.pitch, strict=True))


def test_a_key_follows_the_recording_and_the_code(monkeypatch, tmp_path):
    first = evidence.key("a")
    assert first == evidence.key("a") != evidence.key("b")
    changed = tmp_path / "pitch.py"
    changed.write_text("# hears otherwise\n")
    monkeypatch.setattr(evidence, "_HEARING", (*evidence._HEARING[1:], changed))
    evidence.version.cache_clear()
    try:
        assert evidence.key("a") != first
    finally:
        monkeypatch.undo()
        evidence.version.cache_clear()
    assert evidence.key("a") == first


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.ones(1, np.float32), hiss(0.02, 0.1)], ids=len)
def test_next_to_nothing(samples):
    heard = evidence.listen([samples])
    assert heard.seconds == len(samples) / SAMPLE_RATE
    assert all(np.isfinite(array[~np.isnan(array)]).all() for array in evidence.to_arrays(heard).values())
    assert evidence.listen([]).seconds == 0.0


def test_memory_stays_flat_over_two_hours():
    """What grows is what was heard, 1 KiB a second; two hours of samples alone would be 691 MB."""
    half_a_minute = solo("nava", 220.0, 100.0, seconds=30.0)
    evidence.listen([half_a_minute])

    def peak(minutes: float) -> int:
        tracemalloc.start()
        heard = evidence.listen(half_a_minute for _ in range(int(minutes * 2)))
        assert heard.seconds == minutes * 60
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(120) < peak(2) + 30e6
