import dataclasses
import tarfile
import tracemalloc

import numpy as np
import pytest
from conftest import noise, write

from tarkib import audio
from tarkib.audio import clips
from tarkib.audio.clips import ClipStore, Place
from tarkib.errors import TarkibError
from tarkib.recordings import finding, folders, slicing
from tarkib.recordings.finding import Recording
from tarkib.tables import Roots


@pytest.fixture
def params(defaults):
    return defaults.slice


@pytest.fixture
def sliced(tmp_path, params):
    """What the stage does with the recordings below raw/, here and now."""

    def slice_all():
        (tmp_path / "out").mkdir(exist_ok=True)
        recordings = finding.find(tmp_path / "raw")
        jobs = slicing.plan(Roots(tmp_path / "raw", tmp_path / "demo"), tmp_path / "out", recordings, params)
        return slicing.gather(recordings, map(slicing.slice_recordings, jobs))

    return slice_all


@pytest.fixture
def cut(tmp_path):
    return lambda samples, params: list(slicing.cut(audio.pieces([samples]), params, tmp_path))


def test_slices_lie_end_to_end_and_the_last_is_padded(cut, params):
    samples = noise(17)
    numbers, sounds, levels = zip(*cut(samples, params), strict=True)
    assert numbers == (0, 1, 2)  # the last two seconds are too short
    np.testing.assert_array_equal(np.concatenate(sounds), samples[:360_000])
    assert levels == pytest.approx([-20] * 3, abs=0.1)
    _, (_, padded, _) = cut(noise(8.5), params)
    assert np.count_nonzero(padded[84_000:]) == 0
    assert np.count_nonzero(padded[:84_000]) > 80_000


@pytest.mark.parametrize(
    ("samples", "most", "numbers"),
    [
        # Silent slices are dropped and keep their numbers.
        (np.concatenate([noise(5), np.zeros(120_000, np.float32), noise(5, 1)]), None, [0, 2]),
        # At most so many, spread over the recording.
        (noise(55), 3, [0, 5, 10]),
    ],
)
def test_slices_that_are_kept(cut, params, samples, most, numbers):
    assert [number for number, *_ in cut(samples, dataclasses.replace(params, max_per_recording=most))] == numbers


def test_a_store_of_slices_with_their_tables(tmp_path, sliced):
    samples = noise(12, 1)
    write(tmp_path / "raw/ney/shur/a.wav", samples, subtype="FLOAT")
    write(tmp_path / "raw/tonbak/b.flac", noise(11, 2))
    recordings, slices = sliced()
    assert [(row["path"], row["status"]) for row in recordings] == [("ney/shur/a.wav", "ok"), ("tonbak/b.flac", "ok")]
    assert [row["seconds"] for row in recordings] == [12.0, 11.0]
    assert slices[1]["slice_id"] == f"{recordings[0]['recording_id']}-0001"
    assert (slices[1]["instrument"], slices[1]["dastgah"], slices[1]["start_s"]) == ("ney", "shur", 5.0)
    assert [row["number"] for row in slices] == [0, 1, 0, 1]
    stored = ClipStore(tmp_path / "out").read(Place.of(slices[1]))
    np.testing.assert_allclose(stored, samples[120_000:240_000], atol=1 / 32_768)


def test_slices_of_one_recording_are_never_in_both_splits_and_fill_shards(tmp_path, sliced, monkeypatch):
    monkeypatch.setattr(clips, "CLIPS_PER_SHARD", 4)
    for i in range(4):
        write(tmp_path / f"raw/ney/{i}.wav", noise(10, i))
    _, rows = sliced()
    assert {row["split"] for row in rows} == {"train", "validation"}
    assert len({(row["recording_id"], row["split"]) for row in rows}) == 4
    assert [row["shard"] for row in rows] == ["shard-00000.tar"] * 4 + ["shard-00001.tar"] * 4


def test_one_bad_recording_is_a_row_with_a_reason(tmp_path, sliced):
    raw = tmp_path / "raw/ney"
    silence = "silent: no slice reaches slice.min_rms_dbfs, -50 dB"
    sounds = {
        "good": (noise(6, 1), None),
        "low": (noise(6, 2), "used, but at 8000 Hz it holds nothing above 4000 Hz"),
        "many": (np.stack([noise(6, s) for s in range(6)], 1), None),
        "short": (noise(2, 5), "2.00 s long; slice.min_seconds is 3"),
        "three": (noise(3, 6), None),
        "silent": (np.zeros(200_000, np.float32), silence),
        "dc": (np.full(240_000, 0.5, np.float32), silence),
        "nan": (np.full(200_000, np.nan, np.float32), "holds NaN or infinite samples, the first at 0.00 s; export it"),
        "wild": (np.full(240_000, 1e30, np.float32), "peaks at 1e+30 at 0.00 s, 600 dB above full scale"),
    }
    for name, (samples, _) in sounds.items():
        write(raw / f"{name}.wav", samples, 8_000 if name == "low" else 24_000, subtype="FLOAT")
    (raw / "empty.wav").touch()
    (raw / "text.wav").write_text("no sound at all")
    rows, slices = sliced()
    reasons = {row["path"].removeprefix("ney/").removesuffix(".wav"): row["reason"] for row in rows}
    expected = {name: reason for name, (_, reason) in sounds.items()}
    for name, reason in (expected | {"empty": "the file is empty", "text": "cannot be decoded"}).items():
        assert reasons[name] is None if reason is None else reasons[name].startswith(reason)
    used = {row["path"] for row in rows if row["status"] == "ok"}
    assert used == {f"ney/{name}.wav" for name in ("good", "low", "many", "three")}
    assert len({row["recording_id"] for row in slices}) == 4


def test_the_summary_names_missing_instruments_and_reasons(tmp_path, sliced):
    (tmp_path / "raw/ney").mkdir(parents=True)
    (tmp_path / "raw/ney/text.wav").write_text("no sound at all")
    with pytest.raises(TarkibError, match=r"no usable recording among 1:\n  ney/text.wav: cannot be decoded"):
        sliced()
    for seed, name in enumerate(("ney/a.wav", "ney/b.wav", "oud/c.wav")):
        write(tmp_path / "raw" / name, noise(6, seed))
    text = "\n".join(slicing.summary(*sliced()))
    assert text.startswith("own recordings: 4 (2 usable), 2 slices: ney\n")
    assert "left out of the mixing: tar, santur, kamancheh" in text
    assert "oud/c.wav: unknown instrument" in text


def test_memory_does_not_grow_with_the_recording(tmp_path, params, monkeypatch):
    """Every slice is kept, and a limit needs their count first."""
    monkeypatch.setattr(slicing, "_IN_MEMORY", 1 << 20)
    minutes, minute = 20, noise(60)
    tracemalloc.start()
    pieces = audio.pieces(minute for _ in range(minutes))
    cuts = slicing.cut(pieces, dataclasses.replace(params, max_per_recording=3), tmp_path)
    assert [number for number, *_ in cuts] == [0, 120, 239]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < minutes * minute.nbytes / 4
    assert list(tmp_path.iterdir()) == []


def test_a_recording_that_is_damaged_at_its_end_leaves_nothing_in_the_shard(tmp_path, sliced):
    samples = noise(70.0)
    samples[65 * 24_000] = np.nan
    write(tmp_path / "raw/ney/a.wav", samples, subtype="FLOAT")
    write(tmp_path / "raw/ney/b.wav", noise(11, 2))
    rows, slices = sliced()
    assert [row["status"] for row in rows] == ["rejected", "ok"]
    assert "the first at 65.00 s" in rows[0]["reason"]
    with tarfile.open(tmp_path / "out/shard-00000.tar") as shard:
        assert [name.removesuffix(".flac") for name in shard.getnames()] == [row["slice_id"] for row in slices]


def test_an_exception_of_a_decoder_costs_its_recording_alone(tmp_path, sliced, monkeypatch):
    def raises(*_: object) -> None:
        raise ValueError("arrays of other shapes")

    write(tmp_path / "raw/ney/a.flac", noise(10))
    (tmp_path / "raw/ney/b.m4a").write_bytes(b"sound" * 1_000)
    monkeypatch.setattr(audio.decoding.ffmpeg, "blocks", raises)
    monkeypatch.setattr(audio.decoding.ffmpeg, "seconds", lambda _: (10.0, True))
    rows, slices = sliced()
    assert len(slices) == 2
    assert rows[1]["reason"] == "cannot be decoded (arrays of other shapes); is it a damaged file, or another format?"


@pytest.fixture
def filled(tmp_path, params):
    """What the stage does with recordings in raw/ and an orchestra in demo/."""

    def slice_all():
        (tmp_path / "out").mkdir(exist_ok=True)
        roots = Roots(tmp_path / "raw", tmp_path / "demo")
        recordings = finding.find_all(roots, folders.listing(roots.own), fill=True)
        jobs = slicing.plan(roots, tmp_path / "out", recordings, params)
        return slicing.gather(recordings, map(slicing.slice_recordings, jobs))

    return slice_all


def test_an_orchestra_does_not_stand_in_for_a_folder_of_unusable_recordings(tmp_path, filled):
    write(tmp_path / "raw/oud/a.wav", noise(6, 1))
    write(tmp_path / "demo/ney/b.wav", noise(6, 2))
    with pytest.raises(
        TarkibError, match=r"^no usable recording among 1:\n  oud/a.wav: unknown instrument .folder 'oud'"
    ):
        filled()


def test_filling_changes_no_split_of_ones_own_recordings(params, tmp_path, monkeypatch):
    monkeypatch.setattr(audio, "seconds", lambda _: 10.0)
    own = [one for one in many(8) if one.instrument != "daf"]
    others = [dataclasses.replace(one, origin="demo") for one in many(8) if one.instrument == "daf"]

    def splits(recordings):
        jobs = slicing.plan(Roots(tmp_path, tmp_path), tmp_path, recordings, params)
        return {one.recording_id: (one.performer, name) for job in jobs for one, name in job.recordings}

    both = splits([*others, *own])
    assert splits(own).items() <= both.items()
    assert len(set(both.values())) == len({performer for performer, _ in both.values()}) == 24
    assert {name for one in others for name in both[one.recording_id][1:]} == {"train", "validation"}


def many(performers=5):
    return [
        Recording(f"{i}/{p}-{k}.wav", i, performer=f"{i}-{p}", sha256=f"{i}{p}{k}".ljust(12, "x"))
        for i in ("ney", "tar", "daf")
        for p in range(performers)
        for k in range(4)
    ]


@pytest.mark.parametrize("seed", range(3))
def test_no_performer_is_in_both_splits(seed):
    recordings = many()
    split_of = slicing.split(recordings, 0.2, seed)
    assert len({(one.performer, split_of[one.recording_id]) for one in recordings}) == 15
    for instrument in ("ney", "tar", "daf"):
        splits = [split_of[one.recording_id] for one in recordings if one.instrument == instrument]
        assert splits.count("validation") == 4  # one performer of five


def test_the_last_of_an_instrument_stays_for_training():
    recordings = [
        Recording("ney/a.wav", "ney", performer="Z", sha256="a"),
        Recording("avaz/b.wav", "avaz", performer="Z", sha256="b"),
        Recording("ney/c.wav", "ney", performer="K", sha256="c"),
        Recording("daf/d.wav", "daf", sha256="d"),
    ]
    for seed in range(10):
        expected = {"avaz-b": "train", "daf-d": "train", "ney-a": "train", "ney-c": "validation"}
        assert slicing.split(recordings, 0.5, seed) == expected


def test_the_split_depends_on_the_seed_and_not_on_the_order():
    recordings = many(performers=8)
    assert slicing.split(recordings, 0.25, 1) == slicing.split(recordings[::-1], 0.25, 1)
    assert len({tuple(sorted(slicing.split(recordings, 0.25, seed).items())) for seed in range(5)}) > 1
    assert set(slicing.split(recordings, 0.0, 0).values()) == {"train"}
    without_performers = [Recording(f"ney/{i}.wav", "ney", sha256=f"{i:012d}") for i in range(10)]
    assert sorted(slicing.split(without_performers, 0.2, 0).values()) == ["train"] * 8 + ["validation"] * 2


def test_a_performer_spelt_in_several_ways_is_one():
    names = ["كيهان كلهر", "کیهان  کلهر", "Kalhor", "kalhor \u200b", "P1.1", "P11"]
    recordings = [Recording(f"{k}.wav", "ney", performer=name, sha256=f"{k:012}") for k, name in enumerate(names)]
    are_apart = set()
    for seed in range(10):
        split_of = slicing.split(recordings, 0.5, seed)
        splits = [split_of[recording.recording_id] for recording in recordings]
        assert splits[::2][:2] == splits[1::2][:2]
        are_apart.add(splits[4] != splits[5])
    assert are_apart == {True, False}
