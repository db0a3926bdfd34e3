import tracemalloc

import numpy as np
import pytest
from solos import hiss, solo, tone

from tarkib.annotation import evidence
from tarkib.audio import SAMPLE_RATE
from tarkib.runtime.cache import Cache

pytestmark = pytest.mark.filterwarnings("error")


def bits(recording: evidence.Evidence) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in evidence.to_arrays(recording).items()}


def blocks(samples: np.ndarray, lengths: list[int]) -> list[np.ndarray]:
    """Samples in blocks of these lengths, again and again."""
    edges = np.cumsum(np.resize(lengths, len(lengths) * (len(samples) // sum(lengths) + 1)))
    return np.split(samples, edges[edges < len(samples)])


@pytest.mark.parametrize("lengths", [[1_000], [7], [24_001, 1, 0, 90_000]], ids=str)
def test_blocks_do_not_matter(lengths):
    samples = solo("shur", 220.0, 100.0, seconds=2.0 if lengths == [7] else 21.3)
    assert bits(evidence.extract(blocks(samples, lengths))) == bits(evidence.extract([samples]))


def test_non_finite_samples_count_as_silence():
    samples = tone(220.0, 8.0)
    spoilt, silenced = samples.copy(), samples.copy()
    spoilt[50_000:50_010] = [np.nan, np.inf, -np.inf] * 3 + [np.nan]
    silenced[50_000:50_010] = 0.0
    assert bits(evidence.extract([spoilt])) == bits(evidence.extract([silenced]))
    assert np.isnan(spoilt[50_000])  # the caller's samples are unchanged


def test_a_cache_gives_back_every_bit(tmp_path):
    recording = evidence.extract([solo("segah", 220.0, 90.0, seconds=7.0)])
    cache = Cache(tmp_path)
    cache.put("00", evidence.to_arrays(recording))
    again = evidence.from_arrays(cache.get("00"))
    assert bits(again) == bits(recording)
    assert again.seconds == recording.seconds == 7.0
    np.testing.assert_array_equal(again.pitch.cents, recording.pitch.cents)


def test_a_key_follows_the_recording_and_the_code(monkeypatch, tmp_path):
    first = evidence.key("a")
    assert first == evidence.key("a") != evidence.key("b")
    assert {path.stem for path in evidence._CODE if path.exists()} == {"evidence", "framing", "onset", "pitch", "audio"}
    changed = tmp_path / "pitch.py"
    changed.write_text("# another method\n")
    monkeypatch.setattr(evidence, "_CODE", (*evidence._CODE[1:], changed))
    evidence.version.cache_clear()
    try:
        assert evidence.key("a") != first
    finally:
        monkeypatch.undo()
        evidence.version.cache_clear()
    assert evidence.key("a") == first


@pytest.mark.parametrize("samples", [np.zeros(0, np.float32), np.ones(1, np.float32), hiss(0.02, 0.1)], ids=len)
def test_recordings_without_content(samples):
    recording = evidence.extract([samples])
    assert recording.seconds == len(samples) / SAMPLE_RATE
    assert all(np.isfinite(array[~np.isnan(array)]).all() for array in evidence.to_arrays(recording).values())
    assert evidence.extract([]).seconds == 0.0


@pytest.mark.slow
def test_memory_stays_flat_over_an_hour():
    """Only the evidence grows, 1 KiB a second; the samples of an hour alone would be 345 MB."""
    half_a_minute = solo("nava", 220.0, 100.0, seconds=30.0)
    evidence.extract([half_a_minute])

    def peak(minutes: int) -> int:
        tracemalloc.start()
        assert evidence.extract(half_a_minute for _ in range(minutes * 2)).seconds == minutes * 60
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(60) < peak(2) + 15e6
