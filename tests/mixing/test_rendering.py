import numpy as np
import pytest
from conftest import noise
from scipy import signal

from tarkib import audio
from tarkib.annotation import octaves
from tarkib.audio import CLIP_SAMPLES, CLIP_SECONDS, SAMPLE_RATE, clips
from tarkib.audio.clips import ClipStore
from tarkib.errors import TarkibError
from tarkib.mixing import recipes, rendering
from tarkib.mixing.recipes import Source
from tarkib.mixing.rendering import COMPONENT_RMS_DBFS, Renderer

NOTHING = np.zeros(0, np.float32)
FORMANTS_HZ = (700.0, 2_400.0)


def source(bpm, beat_s, before=True, after=True):
    return Source("aa-1", "aa", "tar", "shur", bpm, 200.0, beat_s, (-5.0 * before, 5.0 + 5.0 * after))


def clicks(bpm: float, beat_s: float = 0.0) -> list[np.ndarray]:
    """Three slices of a recording with a click on each beat; `beat_s` is the first one of the slice in the middle."""
    whole = noise(15, level=1e-4)
    for second in np.arange((5 + beat_s) % (60 / bpm), 14.9, 60 / bpm):
        whole[int(second * SAMPLE_RATE) :][:50] += 0.5
    return np.split(whole, 3)


def click_times(samples: np.ndarray) -> np.ndarray:
    loud = np.abs(samples) > 0.3 * np.abs(samples).max()
    starts = np.flatnonzero(loud & ~np.roll(loud, 1))
    return starts[np.diff(starts, prepend=-SAMPLE_RATE) > SAMPLE_RATE // 20] / SAMPLE_RATE


def tempo(samples: np.ndarray) -> float:
    return 60 / float(np.median(np.diff(click_times(samples))))


def level(samples: np.ndarray) -> float:
    return audio.decibels(audio.rms(samples))


@pytest.mark.parametrize(("factor", "cents"), [(0.8, 0.0), (1.1, 0.0), (1.25, 0.0), (1.0, 200.0)])
def test_a_component_has_the_target_tempo_and_pitch(factor, cents):
    """Turned upside down, as in the original, tempi would move apart."""
    assert tempo(rendering.component(*clicks(100), factor=factor, shift_cents=cents)) == pytest.approx(
        100 * factor, rel=0.01
    )
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(3 * CLIP_SAMPLES) / SAMPLE_RATE).astype(np.float32)
    one = rendering.component(*np.split(tone, 3), factor=factor, shift_cents=cents)
    hz = np.argmax(np.abs(np.fft.rfft(one * np.hanning(one.size)))) * SAMPLE_RATE / one.size
    assert 1200 * np.log2(hz / 440) == pytest.approx(cents, abs=5)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
@pytest.mark.parametrize(("before", "after"), [(True, True), (False, True), (True, False)])
def test_every_component_is_five_seconds_and_sounds_to_its_end(factor, before, after):
    """The original cut to the first clip's length and let fast ones end early."""
    (begin,) = recipes.offsets([source(100.0, None, before, after)], [factor], align_beats=False)
    earlier, later = noise(5, 1) if before else NOTHING, noise(5, 3) if after else NOTHING
    one = rendering.component(earlier, noise(5, 2), later, offset_s=begin, factor=factor)
    assert one.size == CLIP_SAMPLES
    assert min(level(one[-4_800:-480]), level(one[480:4_800])) > COMPONENT_RMS_DBFS - 3


@pytest.mark.parametrize(
    ("samples", "factor", "offset_s", "sounding"),
    [
        (noise(5), 1.25, 0.0, (480, 90_000)),  # a lone slice played faster falls silent at its end
        (noise(5), 0.8, -0.4, (12_500, 119_500)),  # before its recording begins
        (audio.fit(noise(3)), 0.9, 0.0, (480, 77_000)),  # padding does not make a slice louder
        (audio.fit(noise(3)), 1.2, 0.0, (480, 58_000)),
        (noise(5, level=0.001), 1.0, 0.0, (480, 119_500)),  # nor a loud recording drown a quiet one
        (noise(5, level=0.9), 1.0, 0.0, (480, 119_500)),
    ],
)
def test_what_sounds_has_the_level_of_a_component_and_the_rest_is_silent(samples, factor, offset_s, sounding):
    one = rendering.component(NOTHING, samples, NOTHING, offset_s=offset_s, factor=factor, gain_db=-3.0)
    assert level(one[slice(*sounding)]) == pytest.approx(COMPONENT_RMS_DBFS - 3, abs=0.5)
    assert np.count_nonzero(one[: sounding[0] - 500 if offset_s else 1]) == 0
    assert level(one[sounding[1] + 7_000 :]) < -90 or sounding[1] > 119_000


@pytest.mark.parametrize(("factor", "offset_s"), [(0.8, -5.0), (1.0, -1.3), (1.2, 0.0), (0.8, 0.7), (1.2, 3.0)])
def test_a_component_begins_at_its_offset(factor, offset_s):
    """A click in the recording sounds where the offset and the factor put it."""
    sounds_s = click_times(rendering.component(*clicks(120, 0.25), offset_s=offset_s, factor=factor))[1:-1]
    off = (offset_s + factor * sounds_s - 0.25) / 0.5
    assert np.abs(off - np.round(off)).max() < 0.03


def test_an_unchanged_component_is_its_slice_without_clicks_at_the_cuts_and_silence_is_silence():
    samples = noise(5)
    one = rendering.component(noise(5, 1), samples, noise(5, 2))
    np.testing.assert_allclose(one[480:-480], samples[480:-480] * (one[60_000] / samples[60_000]), rtol=1e-4)
    flat = rendering.component(NOTHING, np.full(CLIP_SAMPLES, 0.5, np.float32), NOTHING)
    assert np.abs(np.diff(flat, prepend=0, append=0)).max() < 0.01 * np.abs(flat).max()
    assert audio.rms(rendering.component(NOTHING, np.zeros(CLIP_SAMPLES, np.float32), NOTHING, factor=1.1)) < 1e-6


def farthest(pair, stretches, offsets_s) -> float:
    """How far a beat of the slower one sounds from the nearest of the other, at most, in seconds."""
    beats = []
    for one, factor, offset_s in zip(pair, stretches, offsets_s, strict=True):
        before, samples, after = clicks(one.bpm, one.beat_s)
        before = before if one.sounding_s[0] < 0 else NOTHING
        after = after if one.sounding_s[1] > 5 else NOTHING
        beats.append(click_times(rendering.component(before, samples, after, offset_s=offset_s, factor=factor)))
    slow, fast = sorted(beats, key=len)
    assert len(slow) >= 4
    return max(np.min(np.abs(fast - beat)) for beat in slow[(slow > 0.5) & (slow < 4.5)])


@pytest.mark.parametrize(
    "pair",
    [
        (source(100.0, 0.1), source(110.0, 0.4)),
        (source(60.0, 0.9), source(126.0, 0.02)),
        (source(150.0, 0.3, before=False), source(80.0, 0.0, after=False)),
        (source(100.0, 0.1, before=False), source(95.0, 0.55, before=False)),
    ],
)
def test_aligned_beats_sound_together_and_others_do_not(pair):
    stretches = [octaves.ratio(one.bpm, pair[0].bpm) for one in pair]
    assert farthest(pair, stretches, recipes.offsets(pair, stretches, align_beats=True)) < 0.012
    assert farthest(pair, stretches, recipes.offsets(pair, stretches, align_beats=False)) > 0.03


def test_aligning_moves_by_at_most_a_beat_and_loses_as_little_sound_as_it_can():
    rng = np.random.default_rng(3)
    for _ in range(300):
        sources = [source(*rng.uniform((50, 0), (200, 0.3)).tolist(), bool(rng.integers(2)), True) for _ in range(3)]
        stretches = [octaves.ratio(one.bpm, sources[0].bpm) for one in sources]
        both = (recipes.offsets(sources, stretches, align_beats=align) for align in (True, False))
        for one, factor, offset_s, natural in zip(sources, stretches, *both, strict=True):
            assert abs(offset_s - natural) <= 60 / one.bpm + 1e-9
            assert one.sounding_s[0] - 1e-9 <= offset_s <= one.sounding_s[1] - factor * CLIP_SECONDS + 1e-9
    alone = source(100.0, 0.2, before=False, after=False)
    _, offset_s = recipes.offsets([source(100.0, 0.0), alone], [1.0, 1.0], align_beats=True)
    assert min(abs(offset_s - 0.2), abs(offset_s + 0.4)) < 1e-6
    for unknown in (source(None, None), source(100.0, None)):
        assert recipes.offsets([source(100.0, 0.3), unknown], [1.0, 1.0], align_beats=True) == [0.0, 0.0]


def vowel(hz: float) -> np.ndarray:
    """Three seconds of a pulse train through two resonances: a voice as phoneticians model it."""
    pulses = np.zeros(3 * SAMPLE_RATE)
    pulses[(np.arange(0, 3, 1 / hz) * SAMPLE_RATE).astype(int)] = 1.0
    for formant in FORMANTS_HZ:
        pulses = signal.lfilter(*signal.iirpeak(formant, 6.0, fs=SAMPLE_RATE), pulses) + 0.03 * pulses
    return (pulses / np.abs(pulses).max() * 0.5).astype(np.float32)


def formant_near(samples: np.ndarray, hz: float) -> float:
    """Centre of gravity of the power within a fourth of a frequency."""
    frequencies, power = signal.welch(samples[4_800:-4_800], SAMPLE_RATE, nperseg=4_096)
    near = (frequencies > hz / 1.34) & (frequencies < hz * 1.34)
    return float(np.exp(np.sum(np.log(frequencies[near]) * power[near]) / np.sum(power[near])))


@pytest.mark.parametrize("cents", [-250.0, 250.0])
def test_notes_move_and_formants_stay(cents, monkeypatch):
    before, ratio = vowel(130.0), 2 ** (cents / 1200)

    def moved() -> list[float]:
        """How far each formant moves: 0 not at all, 1 along with the notes."""
        after = rendering.stretch(before, 1.0, cents)
        return [np.log(formant_near(after, hz) / formant_near(before, hz)) / np.log(ratio) for hz in FORMANTS_HZ]

    assert np.abs(moved()).max() < 0.5
    monkeypatch.setattr(rendering, "restore_formants", lambda samples, ratio: samples)
    assert np.mean(moved()) > 0.6


@pytest.mark.parametrize("samples", [noise(2.0), NOTHING, np.zeros(500, np.float32)], ids=len)
def test_restoring_formants_keeps_length_and_level(samples):
    restored = rendering.restore_formants(samples, 1.15)
    assert restored.shape == samples.shape
    assert np.linalg.norm(restored) == pytest.approx(np.linalg.norm(samples), rel=0.15)
    np.testing.assert_allclose(rendering.restore_formants(samples, 1.0), samples, atol=1e-5)


@pytest.mark.parametrize(("rt60_s", "wet_db"), [(0.3, -20.0), (0.8, -6.0), (1.5, -6.0)])
def test_a_rooms_tail_has_its_length_and_level(rt60_s, wet_db):
    """Schroeder's backward integration, from -5 to -25 dB, times three."""
    response = rendering.room_response(rt60_s, wet_db)
    tail = response[1:].astype(float)
    left = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2) + 1e-12)
    first, last = np.argmax(left < -5), np.argmax(left < -25)
    assert 3 * (last - first) / SAMPLE_RATE == pytest.approx(rt60_s, rel=0.12)
    assert audio.decibels(np.linalg.norm(tail)) == pytest.approx(wet_db, abs=0.01)
    np.testing.assert_array_equal(response[:200], [1.0] + 199 * [0.0])  # no reflection before it was at a wall
    np.testing.assert_array_equal(response, rendering.room_response(rt60_s, wet_db))
    sound = np.concatenate([noise(1.0), np.zeros(SAMPLE_RATE, np.float32)])
    reverberant = rendering._in_room({"room_rt60_s": rt60_s, "room_wet_db": wet_db}, sound)
    assert (reverberant.shape, reverberant.dtype) == (sound.shape, np.float32)
    np.testing.assert_allclose(reverberant, np.convolve(sound, response)[: sound.size], atol=1e-5)


@pytest.fixture
def store(tmp_path):
    """Three slices of one recording, and one of another."""
    (tmp_path / "slices").mkdir()
    sounds = [*((f"tar-{i}", samples) for i, samples in enumerate(clicks(100))), ("ney-0", noise(5, 9))]
    rows = [
        {"slice_id": name, "recording_id": name[:3], "number": int(name[-1]), **place._asdict()}
        for (name, _), place in zip(sounds, clips.write_shard(tmp_path / "slices/shard-00000.tar", sounds), strict=True)
    ]
    return tmp_path / "slices", rows


@pytest.fixture
def renderer(store):
    folder, rows = store
    with ClipStore(folder) as clip_store:
        yield Renderer(clip_store, rendering.places(rows))


def recipe(mixture_id, *parts, room=(None, None)):
    row = {"mixture_id": mixture_id, "room_rt60_s": room[0], "room_wet_db": room[1]}
    plain = {"mixture_id": mixture_id, "offset_s": 0.0, "shift_cents": 0.0, "gain_db": 0.0}
    return row, [
        {**plain, "slice_id": slice_id, "stretch": factor, **dict(*changes)} for slice_id, factor, *changes in parts
    ]


@pytest.mark.parametrize("gain_db", [-20.0, 30.0])
@pytest.mark.parametrize("room", [(None, None), (0.8, -6.0)])
def test_parts_add_up_to_the_mixture_scaled_as_a_whole_and_never_clipped(renderer, gain_db, room):
    gain = {"gain_db": gain_db}
    row, parts = recipe("a", ("tar-1", 1.1, gain), ("ney-0", 1.0, gain), room=room)
    mixture, sounds = renderer.mixture(row, parts), renderer.parts(row, parts)
    np.testing.assert_allclose(np.sum(sounds, axis=0), mixture, atol=1e-5)
    if gain_db > 0:
        assert np.abs(mixture).max() == pytest.approx(10 ** (-1 / 20), rel=1e-4)
    elif room == (None, None):
        np.testing.assert_array_equal(mixture, sum(map(renderer.component, parts)))


def test_a_component_whose_slice_is_gone_is_named(renderer):
    with pytest.raises(TarkibError, match=r"mix-7: its slice oud-0 is not in .*slices.*run dvc repro"):
        renderer.mixture(*recipe("mix-7", ("oud-0", 1.0)))


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
    written = []
    for order in (recipes, recipes[::-1]):
        mixtures, parts = [one for one, _ in order], [part for _, some in order for part in some]
        jobs = rendering.plan(tmp_path, folder, mixtures, parts, rows)
        assert [job.shard.name for job in jobs] == ["shard-00000.tar", "shard-00001.tar"]
        made = [row for job in jobs for row in rendering.render_shard(job)]
        with ClipStore(tmp_path) as store_:
            written.append({row["mixture_id"]: store_.read(clips.Place.of(row)) for row in made})
    assert {samples.size for samples in written[0].values()} == {CLIP_SAMPLES}
    for mixture_id in "abc":
        np.testing.assert_array_equal(written[0][mixture_id], written[1][mixture_id])
