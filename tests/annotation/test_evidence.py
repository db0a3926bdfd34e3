import tracemalloc

import numpy as np
import pytest
import scipy.ndimage
from solos import analysed, hiss, solo, timeline, tone

from tarkib.annotation import evidence, onset, pitch
from tarkib.annotation.pitch import Pitch
from tarkib.audio import SAMPLE_RATE
from tarkib.runtime.cache import Cache

pytestmark = pytest.mark.filterwarnings("error")


def bits(recording: evidence.Evidence) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in evidence.to_arrays(recording).items()}


@pytest.mark.parametrize("lengths", [[1_000], [7], [24_001, 1, 0, 90_000]], ids=str)
def test_blocks_do_not_matter(lengths):
    samples = solo("shur", 220.0, 100.0, seconds=2.0 if lengths == [7] else 21.3)
    edges = np.cumsum(np.resize(lengths, len(lengths) * (len(samples) // sum(lengths) + 1)))
    blocks = np.split(samples, edges[edges < len(samples)])
    assert bits(evidence.extract(blocks)) == bits(analysed(samples))


def test_non_finite_samples_count_as_silence():
    spoilt, silenced = tone(220.0, 8.0), tone(220.0, 8.0)
    spoilt[50_000:50_010] = [np.nan, np.inf, -np.inf] * 3 + [np.nan]
    silenced[50_000:50_010] = 0.0
    assert bits(analysed(spoilt)) == bits(analysed(silenced))
    assert np.isnan(spoilt[50_000])  # the caller's samples are unchanged


def test_a_cache_gives_back_every_bit(tmp_path):
    recording, cache = analysed(solo("segah", 220.0, 90.0, seconds=7.0)), Cache(tmp_path)
    cache.put("00", evidence.to_arrays(recording))
    again = evidence.from_arrays(cache.get("00"))
    assert bits(again) == bits(recording)
    assert again.seconds == recording.seconds == 7.0


def test_a_key_follows_the_recording_and_the_code(monkeypatch, tmp_path):
    first = evidence.key("a")
    assert first == evidence.key("a") != evidence.key("b")
    assert {path.stem for path in evidence._CODE if path.exists()} == {"evidence", "notes", "onset", "pitch", "audio"}
    changed = tmp_path / "pitch.py"
    changed.write_text("# another method\n")
    monkeypatch.setattr(evidence, "_CODE", (*evidence._CODE[1:], changed))
    monkeypatch.setattr(evidence, "_version", evidence._version.__wrapped__)
    assert evidence.key("a") != first


@pytest.mark.parametrize("length", [0, 1, 239, 240, 480, 1_024, 119_999, 120_000])
def test_any_length_has_its_frames(length):
    recording = analysed(hiss(5.0, 0.1)[:length])
    assert recording.seconds == length / SAMPLE_RATE
    assert recording.onset.shape == (1 + length // 240, 4)
    assert all(np.isfinite(array[~np.isnan(array)]).all() for array in evidence.to_arrays(recording).values())
    assert evidence.extract([]).seconds == 0.0


@pytest.mark.slow
def test_memory_stays_flat_over_an_hour():
    """Only the evidence grows, 1 KiB a second; the samples of an hour alone would be 345 MB."""
    half_a_minute = solo("nava", 220.0, 100.0, seconds=30.0)
    analysed(half_a_minute)

    def peak(minutes: int) -> int:
        tracemalloc.start()
        assert evidence.extract(half_a_minute for _ in range(minutes * 2)).seconds == minutes * 60
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(60) < peak(2) + 25e6


def test_onset_strength_peaks_where_notes_begin_and_not_where_a_sound_is_cut():
    strength = analysed(tone(331.0, 2.0)).onset
    assert max(strength[:8].max(), strength[-8:].max()) < 0.02
    samples = hiss(4.0, 1e-4)
    for start in (1.0, 2.5):
        note = tone(300.0, 1.0) * np.exp(-timeline(1.0) / 0.3).astype(np.float32)
        samples[int(start * SAMPLE_RATE) : int((start + 1.0) * SAMPLE_RATE)] += note
    strength = analysed(samples).onset.sum(axis=1)
    for frame in (100, 250):
        assert abs(int(strength[frame - 20 : frame + 20].argmax()) - 20) <= 3
    assert strength[150:240].max() < 0.2 * strength.max()


def test_flux_equals_its_definition():
    """Beside a plain reference that has all of the recording at once."""
    samples = solo("nava", 200.0, 110.0, seconds=23.0)
    padded, frames = np.pad(samples, (512, 1024)), 1 + len(samples) // 240
    window, bank = np.hanning(1025)[:-1], onset._filterbank().toarray()
    mel = np.array([bank @ np.abs(np.fft.rfft(padded[240 * i : 240 * i + 1024] * window)) for i in range(frames)])
    segments = [mel[i : i + 500].max() for i in range(0, frames, 500)]
    loudest = scipy.ndimage.maximum_filter1d(segments, 9, mode="nearest")
    loudness = np.interp(np.arange(frames) + 0.5, (np.arange(len(loudest)) + 0.5) * 500, loudest)
    level = np.log1p(1000.0 * mel / loudness[:, None])
    before = np.maximum.reduce([np.pad(level, ((0, 0), (1, 1)), mode="edge")[:, k : k + 40] for k in range(3)])
    expected = np.zeros((frames, 3))
    expected[2:] = np.add.reduceat(np.maximum(level[2:] - before[:-2], 0.0) / 40, (0, 10, 24), axis=1)
    expected[:5] = expected[-3:] = 0.0
    np.testing.assert_allclose(analysed(samples).onset[:, :3], expected, atol=2e-3)


def test_a_quiet_passage_counts_as_much_as_a_loud_one():
    music = solo("shur", 220.0, 100.0, seconds=60.0)
    faded = music * np.repeat([1.0, 0.02], [SAMPLE_RATE * 10, SAMPLE_RATE * 50]).astype(np.float32)
    quiet, loud = (analysed(one).onset[4500:5900, :3] for one in (faded, music))  # pitch ignores quiet frames
    np.testing.assert_allclose(quiet, loud, atol=0.02)


def detect(samples: np.ndarray) -> Pitch:
    return analysed(samples).pitch


def cents_of(hz: float) -> float:
    return 1200 * np.log2(hz / pitch.REFERENCE_HZ)


PHASE = 2 * np.pi * 150.0 * timeline(1.0)


@pytest.mark.parametrize(
    ("hz", "samples"),
    [
        *((hz, tone(hz, 1.0, harmonics)) for hz in (70.0, 233.0, 784.1, 2000.0) for harmonics in (1, 8)),
        (150.0, sum(np.sin(k * PHASE) for k in (3, 4, 5)).astype(np.float32)),  # the fundamental is missing
        (233.0, 0.1 * tone(233.0, 1.0) + np.float32(0.5)),
    ],
)
def test_a_tone_has_its_fundamental(hz, samples):
    detected = detect(samples)
    assert detected.held.mean() > 0.95
    np.testing.assert_allclose(detected.cents[detected.held], cents_of(hz), atol=6.0)


@pytest.mark.parametrize(
    "samples", [np.zeros(SAMPLE_RATE, np.float32), np.ones(SAMPLE_RATE, np.float32), hiss(3.0, 0.3)]
)
def test_without_pitch_nothing_is_held(samples):
    detected = detect(samples)
    assert not detected.held.any()
    assert np.isfinite(detected.cents).mean() < 0.05
    assert detected.fundamentals().sum() == 0.0


def test_what_hides_a_tone():
    rms = float(np.sqrt(np.mean(tone(311.0, 2.0) ** 2)))
    assert detect(tone(311.0, 2.0) + hiss(2.0, 0.5 * rms)).held.mean() > 0.9
    assert np.isfinite(detect(tone(311.0, 2.0) + hiss(2.0, 1.6 * rms)).cents).mean() < 0.1
    # Far quieter frames are ignored.
    assert not detect(np.concatenate([tone(330.0, 2.0), 0.01 * tone(370.0, 2.0)])).held[110:].any()


def test_vibrato_is_held_and_a_slide_is_not():
    vibrato = detect(tone(330.0, 2.0, vibrato_cents=25.0))
    assert vibrato.held.mean() > 0.95
    assert np.median(vibrato.cents) == pytest.approx(cents_of(330.0), abs=5)
    hz = 150.0 * 2 ** (timeline(1.0) * 2.5)
    slide = detect(np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE).astype(np.float32))
    assert np.isfinite(slide.cents).mean() > 0.8
    assert slide.held.mean() < 0.1


def share_near(classes: np.ndarray, hz: float) -> float:
    place = round((cents_of(hz) % 1200) / 10)
    return classes[np.arange(place - 1, place + 2) % pitch.BINS].sum() / classes.sum()


@pytest.mark.parametrize("low_hz", [109.4, 294.0])  # between bins of the FFT, 50 or 20 cents wide there
def test_spectral_peaks_show_both_of_two_notes(low_hz):
    spectral = detect(tone(low_hz, 2.0, harmonics=1) + tone(407.0, 2.0, harmonics=1)).spectral.sum(axis=0)
    for hz in (low_hz, 407.0):
        assert share_near(spectral, hz) == pytest.approx(0.5, abs=0.05)


def test_fundamentals_are_shares_of_time_modulo_octave():
    detected = detect(np.concatenate([tone(220.0, 2.0, 1), tone(440.0, 1.0, 1), tone(330.0, 1.0, 1)]))
    assert detected.fundamentals().sum() == pytest.approx(1.0)
    assert share_near(detected.fundamentals(), 220.0) == pytest.approx(0.75, abs=0.03)
