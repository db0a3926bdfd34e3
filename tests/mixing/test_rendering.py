import numpy as np
import pytest
from conftest import noise

from tarkib import audio, clips
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.clips import ClipStore
from tarkib.mixing import rendering
from tarkib.mixing.rendering import COMPONENT_RMS_DBFS, Renderer

NOTHING = np.zeros(0, np.float32)


def clicks(bpm: float, seconds: float = 15.0) -> np.ndarray:
    """Short bursts at a tempo."""
    samples = np.zeros(int(seconds * SAMPLE_RATE), np.float32)
    burst = noise(0.005, 1, level=0.5)
    for start in np.arange(0, samples.size - burst.size, 60 * SAMPLE_RATE / bpm):
        samples[int(start) : int(start) + burst.size] = burst
    return samples


def tempo(samples: np.ndarray) -> float:
    """Tempo of bursts: the median distance between them."""
    envelope = np.convolve(np.abs(samples), np.ones(240), "same")
    starts = np.flatnonzero(np.diff((envelope > 0.3 * envelope.max()).astype(int)) == 1)
    return 60 * SAMPLE_RATE / float(np.median(np.diff(starts)))


def level(samples: np.ndarray) -> float:
    return audio.decibels(audio.rms(samples))


@pytest.mark.parametrize("factor", [0.8, 0.93, 1.1, 1.25])
def test_what_is_stretched_is_heard_at_the_target_tempo(factor):
    """Turned upside down, as in the original, tempi would move apart."""
    whole = clicks(100)
    one = rendering.component(whole[:CLIP_SAMPLES], NOTHING, whole[CLIP_SAMPLES:], factor, 0.0, 0.0)
    assert tempo(one) == pytest.approx(100 * factor, rel=0.01)


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.0, 1.1, 1.25])
def test_every_component_is_five_seconds_and_sounds_to_its_end(factor):
    """The original cut to the first clip's length and let fast ones end early."""
    before, samples, after = noise(5, 1), noise(5, 2), noise(5, 3)
    neighbours = [(before, after), (NOTHING, after), (before, NOTHING)]
    for earlier, later in neighbours:
        one = rendering.component(samples, earlier, later, factor, 0.0, 0.0)
        assert one.size == CLIP_SAMPLES
        assert level(one[-4_800:-480]) > COMPONENT_RMS_DBFS - 3
        assert level(one[480:4_800]) > COMPONENT_RMS_DBFS - 3


def test_a_lone_slice_played_faster_falls_silent_at_its_end():
    one = rendering.component(noise(5), NOTHING, NOTHING, 1.25, 0.0, 0.0)
    assert one.size == CLIP_SAMPLES
    assert np.count_nonzero(one[96_100:]) == 0
    assert level(one[480:90_000]) == pytest.approx(COMPONENT_RMS_DBFS, abs=1)


def test_factor_one_is_the_slice_itself():
    samples = noise(5)
    one = rendering.component(samples, noise(5, 1), noise(5, 2), 1.0, 0.0, 0.0)
    scale = one[60_000] / samples[60_000]
    np.testing.assert_allclose(one[480:-480], samples[480:-480] * scale, rtol=1e-4)


def test_transposing_leaves_the_tempo():
    time = np.arange(3 * CLIP_SAMPLES) / SAMPLE_RATE
    whole = (0.1 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    parts = np.split(whole, 3)
    one = rendering.component(parts[1], parts[0], parts[2], 1.0, 200.0, 0.0)
    spectrum = np.abs(np.fft.rfft(one * np.hanning(one.size)))
    hz = np.argmax(spectrum) * SAMPLE_RATE / one.size
    assert 1200 * np.log2(hz / 440) == pytest.approx(200, abs=5)
    pulse = np.split(clicks(100), 3)
    assert tempo(rendering.component(pulse[1], pulse[0], pulse[2], 1.0, 200.0, 0.0)) == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("loudness", [0.001, 0.1, 0.9])
def test_loud_recordings_do_not_drown_quiet_ones(loudness):
    one = rendering.component(noise(5, level=loudness), NOTHING, NOTHING, 1.0, 0.0, -3.0)
    assert level(one) == pytest.approx(COMPONENT_RMS_DBFS - 3, abs=0.1)


def test_silence_stays_silence():
    one = rendering.component(np.zeros(CLIP_SAMPLES, np.float32), NOTHING, NOTHING, 1.1, 0.0, 0.0)
    assert np.isfinite(one).all()
    assert audio.rms(one) < 1e-6


def test_no_click_where_a_slice_was_cut():
    one = rendering.component(np.full(CLIP_SAMPLES, 0.5, np.float32), NOTHING, NOTHING, 1.0, 0.0, 0.0)
    assert np.abs(np.diff(one, prepend=0, append=0)).max() < 0.01 * np.abs(one).max()


def test_a_sum_is_scaled_and_never_clipped():
    parts = [noise(5, seed, level=0.5) for seed in range(5)]
    mixture = rendering.mix(parts)
    assert np.abs(mixture).max() == pytest.approx(10 ** (-1 / 20), rel=1e-4)
    total = np.sum(parts, axis=0)
    np.testing.assert_allclose(mixture, total * (mixture[0] / total[0]), rtol=1e-3, atol=1e-5)
    quiet = [part * 0.01 for part in parts]
    np.testing.assert_allclose(rendering.mix(quiet), np.sum(quiet, axis=0), atol=1e-7)


@pytest.fixture
def store(tmp_path):
    """Three slices of one recording, and one of another."""
    (tmp_path / "slices").mkdir()
    whole = clicks(100)
    some = [(f"tar-aa-{i:04d}", whole[i * CLIP_SAMPLES : (i + 1) * CLIP_SAMPLES]) for i in range(3)]
    some.append(("ney-bb-0000", noise(5, 9)))
    places = list(clips.write_shard(tmp_path / "slices/shard-00000.tar", some))
    rows = [{"slice_id": name, **place._asdict()} for (name, _), place in zip(some, places, strict=True)]
    return tmp_path / "slices", rows


def recipe(mixture_id, *parts):
    row = {"mixture_id": mixture_id, "split": "train", "mode": "bpm", "instruments": [], "target_bpm": None}
    parts = [
        {"mixture_id": mixture_id, "slice_id": s, "stretch": f, "shift_cents": 0.0, "gain_db": 0.0} for s, f in parts
    ]
    return {**row, "dastgah": None}, parts


def test_a_fast_slice_goes_on_into_its_neighbour(store):
    folder, rows = store
    places = {row["slice_id"]: clips.Place(row["shard"], row["offset"], row["size"]) for row in rows}
    renderer = Renderer(ClipStore(folder), places)
    middle = renderer.component({"slice_id": "tar-aa-0001", "stretch": 1.2, "shift_cents": 0.0, "gain_db": 0.0})
    assert tempo(middle) == pytest.approx(120, rel=0.01)
    assert audio.rms(middle[-24_000:]) > 0.5 * audio.rms(middle)


def test_any_row_is_the_same_sound_whenever_it_is_asked_for(store, tmp_path, monkeypatch):
    folder, rows = store
    monkeypatch.setattr(clips, "CLIPS_PER_SHARD", 2)
    recipes = [
        recipe("a", ("tar-aa-0001", 1.1), ("ney-bb-0000", 1.0)),
        recipe("b", ("tar-aa-0002", 0.9)),
        recipe("c", ("tar-aa-0000", 1.2), ("ney-bb-0000", 0.85)),
    ]
    written = {}
    for name, order in (("one", recipes), ("other", recipes[::-1])):
        (tmp_path / name).mkdir()
        mixtures, parts = [one for one, _ in order], [part for _, some in order for part in some]
        jobs = rendering.plan(tmp_path / name, folder, mixtures, parts, rows)
        assert [job.shard.name for job in jobs] == ["shard-00000.tar", "shard-00001.tar"]
        with ClipStore(tmp_path / name) as store_:
            written[name] = {
                row["mixture_id"]: store_.read(clips.Place(row["shard"], row["offset"], row["size"]))
                for job in jobs
                for row in rendering.render_shard(job)
            }
    assert {samples.size for samples in written["one"].values()} == {CLIP_SAMPLES}
    for mixture_id in "abc":
        np.testing.assert_array_equal(written["one"][mixture_id], written["other"][mixture_id])
