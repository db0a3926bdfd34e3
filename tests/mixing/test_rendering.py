import numpy as np
import pytest
from conftest import noise

from tarkib import audio
from tarkib.audio import CLIP_SAMPLES, CLIP_SECONDS, SAMPLE_RATE, clips
from tarkib.audio.clips import ClipStore
from tarkib.errors import TarkibError
from tarkib.mixing import recipes, rendering
from tarkib.mixing.recipes import Source
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


@pytest.mark.parametrize("factor", [0.8, 1.1, 1.25])
def test_a_stretched_component_has_the_target_tempo(factor):
    """Turned upside down, as in the original, tempi would move apart."""
    whole = clicks(100)
    one = rendering.component(NOTHING, whole[:CLIP_SAMPLES], whole[CLIP_SAMPLES:], factor=factor)
    assert tempo(one) == pytest.approx(100 * factor, rel=0.01)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("neighbours", ["both", "after", "before"])
def test_every_component_is_five_seconds_and_sounds_to_its_end(factor, neighbours):
    """The original cut to the first clip's length and let fast ones end early."""
    before, after = neighbours != "after", neighbours != "before"
    sounding_s = -5.0 * before, 5.0 + 5.0 * after
    begin = recipes.begin(Source("aa-1", "aa", "tar", "shur", 100.0, 200.0, None, sounding_s), factor)
    earlier, later = noise(5, 1) if before else NOTHING, noise(5, 3) if after else NOTHING
    one = rendering.component(earlier, noise(5, 2), later, offset_s=begin, factor=factor)
    assert one.size == CLIP_SAMPLES
    assert level(one[-4_800:-480]) > COMPONENT_RMS_DBFS - 3
    assert level(one[480:4_800]) > COMPONENT_RMS_DBFS - 3


def test_a_lone_slice_played_faster_falls_silent_at_its_end():
    one = rendering.component(NOTHING, noise(5), NOTHING, factor=1.25)
    assert one.size == CLIP_SAMPLES
    assert np.count_nonzero(one[96_100:]) == 0
    assert level(one[480:90_000]) == pytest.approx(COMPONENT_RMS_DBFS, abs=1)


@pytest.mark.parametrize(("factor", "offset_s"), [(0.8, -5.0), (1.0, -1.3), (1.2, 0.0), (0.8, 0.7), (1.2, 3.0)])
def test_a_component_begins_at_its_offset(factor, offset_s):
    """A click in the recording sounds where the offset and the factor put it."""
    whole = noise(15, 4, level=1e-4)
    for click_s in np.arange(0.25, 15, 0.5):
        whole[int(click_s * SAMPLE_RATE)] += 0.5
    before, samples, after = np.split(whole, 3)
    one = rendering.component(before, samples, after, offset_s=offset_s, factor=factor)
    strongest = np.argmax(np.abs(one[2_400:-2_400])) + 2_400
    source_s = CLIP_SECONDS + offset_s + factor * strongest / SAMPLE_RATE
    assert (source_s - 0.25) % 0.5 == pytest.approx(0.0, abs=0.01) or (source_s - 0.25) % 0.5 > 0.49


def test_before_its_recording_begins_a_component_is_silent():
    one = rendering.component(NOTHING, noise(5), NOTHING, offset_s=-0.4, factor=0.8)
    assert np.count_nonzero(one[:12_000]) == 0
    assert level(one[12_500:]) == pytest.approx(COMPONENT_RMS_DBFS, abs=0.5)
    assert level(one[-4_800:-480]) > COMPONENT_RMS_DBFS - 3


def test_factor_one_is_the_slice_itself():
    samples = noise(5)
    one = rendering.component(noise(5, 1), samples, noise(5, 2))
    scale = one[60_000] / samples[60_000]
    np.testing.assert_allclose(one[480:-480], samples[480:-480] * scale, rtol=1e-4)


def test_transposing_leaves_the_tempo():
    time = np.arange(3 * CLIP_SAMPLES) / SAMPLE_RATE
    whole = (0.1 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    parts = np.split(whole, 3)
    one = rendering.component(*parts, shift_cents=200.0)
    spectrum = np.abs(np.fft.rfft(one * np.hanning(one.size)))
    hz = np.argmax(spectrum) * SAMPLE_RATE / one.size
    assert 1200 * np.log2(hz / 440) == pytest.approx(200, abs=5)
    pulse = np.split(clicks(100), 3)
    assert tempo(rendering.component(*pulse, shift_cents=200.0)) == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("loudness", [0.001, 0.1, 0.9])
def test_loud_recordings_do_not_drown_quiet_ones(loudness):
    one = rendering.component(NOTHING, noise(5, level=loudness), NOTHING, gain_db=-3.0)
    assert level(one) == pytest.approx(COMPONENT_RMS_DBFS - 3, abs=0.1)


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.2])
def test_a_padded_slice_is_no_louder_for_its_silence(factor):
    padded = audio.fit(noise(3))
    one = rendering.component(NOTHING, padded, NOTHING, factor=factor)
    assert level(one[480 : int(2.9 * SAMPLE_RATE / factor)]) == pytest.approx(COMPONENT_RMS_DBFS, abs=0.5)


def test_silence_stays_silence():
    one = rendering.component(NOTHING, np.zeros(CLIP_SAMPLES, np.float32), NOTHING, factor=1.1)
    assert np.isfinite(one).all()
    assert audio.rms(one) < 1e-6


def test_no_click_where_a_slice_was_cut():
    one = rendering.component(NOTHING, np.full(CLIP_SAMPLES, 0.5, np.float32), NOTHING)
    assert np.abs(np.diff(one, prepend=0, append=0)).max() < 0.01 * np.abs(one).max()


@pytest.fixture
def store(tmp_path):
    """Three slices of one recording, and one of another."""
    (tmp_path / "slices").mkdir()
    whole = clicks(100)
    sounds = [(f"tar-{i}", whole[i * CLIP_SAMPLES : (i + 1) * CLIP_SAMPLES]) for i in range(3)]
    sounds.append(("ney-0", noise(5, 9)))
    rows = [
        {"slice_id": name, "recording_id": name[:3], "number": int(name[-1]), **place._asdict()}
        for (name, _), place in zip(sounds, clips.write_shard(tmp_path / "slices/shard-00000.tar", sounds), strict=True)
    ]
    return tmp_path / "slices", rows


def recipe(mixture_id, *parts, room=(None, None)):
    row = {"mixture_id": mixture_id, "room_rt60_s": room[0], "room_wet_db": room[1]}
    plain = {"mixture_id": mixture_id, "offset_s": 0.0, "shift_cents": 0.0, "gain_db": 0.0}
    return row, [
        {**plain, "slice_id": slice_id, "stretch": factor, **dict(*changes)} for slice_id, factor, *changes in parts
    ]


@pytest.fixture
def renderer(store):
    folder, rows = store
    with ClipStore(folder) as clip_store:
        yield Renderer(clip_store, rendering.places(rows))


def test_a_fast_slice_goes_on_into_its_neighbour(renderer):
    _, (row,) = recipe("a", ("tar-1", 1.2))
    middle = renderer.component(row)
    assert tempo(middle) == pytest.approx(120, rel=0.01)
    assert audio.rms(middle[-24_000:]) > 0.5 * audio.rms(middle)


def test_a_sum_is_scaled_and_never_clipped(renderer):
    loud = {"gain_db": 30.0}
    row, parts = recipe("a", ("tar-1", 1.0, loud), ("ney-0", 1.0, loud))
    mixture = renderer.mixture(row, parts)
    assert np.abs(mixture).max() == pytest.approx(10 ** (-1 / 20), rel=1e-4)
    total = sum(renderer.component(part) for part in parts)
    np.testing.assert_allclose(mixture, total * (mixture[60_000] / total[60_000]), rtol=1e-3, atol=1e-5)
    quiet = recipe("b", ("ney-0", 1.0), ("ney-0", 0.9))
    np.testing.assert_array_equal(renderer.mixture(*quiet), sum(map(renderer.component, quiet[1])))


@pytest.mark.parametrize("gain_db", [0.0, 30.0])
@pytest.mark.parametrize("room", [(None, None), (0.8, -6.0)])
def test_parts_add_up_to_the_mixture(renderer, gain_db, room):
    gain = {"gain_db": gain_db}
    row, parts = recipe("a", ("tar-1", 1.1, gain), ("ney-0", 1.0, gain), room=room)
    sounds = renderer.parts(row, parts)
    assert len(sounds) == 2
    np.testing.assert_allclose(sum(sounds), renderer.mixture(row, parts), atol=1e-5)


def test_a_component_whose_slice_is_gone_is_named(renderer):
    with pytest.raises(TarkibError, match=r"mix-7: its slice oud-0 is not in .*slices.*run dvc repro"):
        renderer.mixture(*recipe("mix-7", ("oud-0", 1.0)))


def test_few_slices_are_cached(store, monkeypatch):
    monkeypatch.setattr(rendering, "_CACHED_SLICES", 2)
    folder, rows = store
    reads = []
    with ClipStore(folder) as clip_store:
        read = clip_store.read
        monkeypatch.setattr(clip_store, "read", lambda *args: reads.append(args) or read(*args))
        renderer = Renderer(clip_store, rendering.places(rows))
        for name, expected in (("tar-0", 1), ("tar-1", 2), ("tar-0", 2), ("tar-2", 3), ("tar-0", 3), ("tar-1", 4)):
            renderer.component(recipe("a", (name, 1.0))[1][0])
            assert len(reads) == expected


@pytest.mark.parametrize(("factor", "offset_s"), [(0.8, -4.9), (1.0, -0.03), (1.13, 0.0), (1.25, 0.6), (1.0, 0.0)])
def test_parts_of_neighbours_are_as_good_as_the_whole(renderer, factor, offset_s):
    """Neighbours are decoded in part and sound as if they had been decoded whole."""
    _, (row,) = recipe("a", ("tar-1", factor, {"offset_s": offset_s}))
    expected = rendering.component(*renderer.around("tar-1"), offset_s=offset_s, factor=factor)
    np.testing.assert_array_equal(renderer.component(row), expected)


def test_any_row_is_the_same_sound_whenever_it_is_asked_for(store, tmp_path, monkeypatch):
    folder, rows = store
    monkeypatch.setattr(clips, "CLIPS_PER_SHARD", 2)
    recipes = [
        recipe("a", ("tar-1", 1.1), ("ney-0", 1.0)),
        recipe("b", ("tar-2", 0.9, {"shift_cents": 150.0}), room=(0.5, -9.0)),
        recipe("c", ("tar-0", 1.2), ("ney-0", 0.85)),
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
