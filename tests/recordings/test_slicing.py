import dataclasses
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import noise, write

from tarkib import audio
from tarkib.audio import clips
from tarkib.audio.clips import ClipStore, Place
from tarkib.errors import TarkibError
from tarkib.recordings import finding, slicing


@pytest.fixture
def params(defaults):
    return defaults.slice


def sliced(root, folder, params):
    """What the stage does, here and now."""
    folder.mkdir(exist_ok=True)
    found = finding.find(root)
    results = [slicing.slice_recordings(job) for job in slicing.plan(root, folder, found, params)]
    return slicing.gather(found, results)


def cut(samples, params):
    return list(slicing.cut(audio.pieces([samples]), params, Path("/tmp")))


def test_slices_lie_end_to_end(params):
    samples = noise(17)
    cuts = cut(samples, params)
    assert [one.number for one in cuts] == [0, 1, 2]  # the last two seconds are too short
    for one in cuts:
        assert one.samples.size == audio.CLIP_SAMPLES
        start = one.number * 120_000
        np.testing.assert_array_equal(one.samples, samples[start : start + 120_000])
        assert one.rms_dbfs == pytest.approx(-20, abs=0.1)


def test_a_last_piece_that_is_long_enough_is_padded(params):
    cuts = cut(noise(8.5), params)
    assert len(cuts) == 2
    assert np.count_nonzero(cuts[1].samples[84_000:]) == 0
    assert np.count_nonzero(cuts[1].samples[:84_000]) > 80_000


def test_silent_slices_are_dropped_and_keep_their_numbers(params):
    samples = np.concatenate([noise(5), np.zeros(120_000, np.float32), noise(5, 1)])
    assert [one.number for one in cut(samples, params)] == [0, 2]


def test_at_most_so_many_of_a_recording_spread_over_it(params):
    some = dataclasses.replace(params, max_per_recording=3)
    assert [one.number for one in cut(noise(55), some)] == [0, 5, 10]


def test_a_store_of_slices_with_their_tables(tmp_path, params):
    samples = noise(12, 1)
    write(tmp_path / "raw/ney/shur/a.wav", samples, subtype="FLOAT")
    write(tmp_path / "raw/tonbak/b.flac", noise(11, 2))
    recording_rows, slice_rows = sliced(tmp_path / "raw", tmp_path / "out", params)
    assert [(one["path"], one["status"]) for one in recording_rows] == [
        ("ney/shur/a.wav", "ok"),
        ("tonbak/b.flac", "ok"),
    ]
    assert [one["seconds"] for one in recording_rows] == [12.0, 11.0]
    first, second = slice_rows[:2]
    assert second["slice_id"] == f"{recording_rows[0]['recording_id']}-0001"
    assert (first["instrument"], first["dastgah"], first["start_s"]) == ("ney", "shur", 0.0)
    assert [row["number"] for row in slice_rows] == [0, 1, 0, 1]
    place = Place(second["shard"], second["offset"], second["size"])
    np.testing.assert_allclose(ClipStore(tmp_path / "out").read(place), samples[120_000:240_000], atol=1 / 32_768)


def test_slices_of_one_recording_are_never_in_both_splits(tmp_path, params):
    """The original named slices sampleN, so that nothing kept a recording's slices together."""
    for i in range(6):
        write(tmp_path / f"raw/ney/{i}.wav", noise(10, i))
    _, rows = sliced(tmp_path / "raw", tmp_path / "out", params)
    assert {one["split"] for one in rows} == {"train", "validation"}
    for recording_id in {one["recording_id"] for one in rows}:
        assert len({one["split"] for one in rows if one["recording_id"] == recording_id}) == 1
    assert all(one["slice_id"].startswith(one["recording_id"]) for one in rows)


def test_one_bad_recording_is_a_row_with_a_reason(tmp_path, params):
    raw = tmp_path / "raw"
    write(raw / "ney/good.wav", noise(6, 1))
    write(raw / "ney/low.wav", noise(6, 2, rate=8_000), 8_000)
    write(raw / "ney/high.wav", noise(6, 3, rate=192_000), 192_000)
    write(raw / "ney/eight.wav", noise(6, 4), subtype="PCM_U8")
    write(raw / "ney/many.wav", np.stack([noise(6, s) for s in range(6)], 1))
    write(raw / "ney/short.wav", noise(2, 5))
    write(raw / "ney/three.wav", noise(3, 6))
    write(raw / "ney/silent.wav", np.zeros(200_000, np.float32))
    write(raw / "ney/nan.wav", np.full(200_000, np.nan, np.float32), subtype="FLOAT")
    (raw / "ney/empty.wav").touch()
    (raw / "ney/text.wav").write_text("no sound at all")
    (raw / "ney/cut.mp3").write_bytes(write(tmp_path / "whole.mp3", noise(16, 8)).read_bytes()[:50_000])
    (raw / "ney/cut.flac").write_bytes(write(tmp_path / "whole.flac", noise(8, 7)).read_bytes()[:100_000])
    rows, slices = sliced(raw, tmp_path / "out", params)
    told = {one["path"].removeprefix("ney/"): (one["status"], one["reason"]) for one in rows}
    assert {name for name, (status, _) in told.items() if status == "ok"} == {
        "good.wav", "low.wav", "high.wav", "eight.wav", "many.wav", "three.wav", "cut.mp3",
    }  # fmt: skip
    assert told["good.wav"][1] is None
    for name, reason in {
        "low.wav": "used, but at 8000 Hz it holds nothing above 4000 Hz",
        "short.wav": "2.00 s long; slice.min_seconds is 3",
        "silent.wav": "silent: no slice reaches slice.min_rms_dbfs, -50 dB",
        "nan.wav": "holds NaN or infinite samples, the first at 0.00 s; export it again",
        "empty.wav": "the file is empty",
    }.items():
        assert told[name][1] == reason
    assert "cannot be decoded" in told["text.wav"][1]
    assert "cannot be decoded" in told["cut.flac"][1] or "cut short" in told["cut.flac"][1]
    assert "is it cut short?" in told["cut.mp3"][1]
    assert len({one["recording_id"] for one in slices}) == 7


def test_nothing_usable_is_an_error_that_says_why(tmp_path, params):
    (tmp_path / "raw/ney").mkdir(parents=True)
    (tmp_path / "raw/ney/text.wav").write_text("no sound at all")
    with pytest.raises(TarkibError, match=r"no usable recording among 1:\n  ney/text.wav: cannot be decoded"):
        sliced(tmp_path / "raw", tmp_path / "out", params)


def test_shards_hold_about_a_thousand(tmp_path, params, monkeypatch):
    monkeypatch.setattr(clips, "CLIPS_PER_SHARD", 4)
    for i in range(4):
        write(tmp_path / f"raw/ney/{i}.wav", noise(10, i))
    _, rows = sliced(tmp_path / "raw", tmp_path / "out", params)
    assert [one["shard"] for one in rows] == ["shard-00000.tar"] * 4 + ["shard-00001.tar"] * 4


def test_the_summary_names_what_is_missing(tmp_path, params):
    write(tmp_path / "raw/ney/a.wav", noise(6, 1))
    write(tmp_path / "raw/ney/b.wav", noise(6, 2))
    write(tmp_path / "raw/oud/c.wav", noise(6, 3))
    text = "\n".join(slicing.summary(*sliced(tmp_path / "raw", tmp_path / "out", params)))
    assert "2 slices from 2 of 3 recordings" in text
    assert "left out of the mixing: tar, santur, kamancheh" in text
    assert "oud/c.wav: unknown instrument" in text


def test_memory_does_not_grow_with_the_recording(tmp_path, params):
    """Two hours, of which every slice is kept, and a limit that needs their count first."""
    minutes = 120
    one = noise(60, level=0.1)
    tracemalloc.start()
    pieces = audio.pieces(one for _ in range(minutes))
    cuts = slicing.cut(pieces, dataclasses.replace(params, max_per_recording=3), tmp_path)
    assert [cut.number for cut in cuts] == [0, 720, 1439]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < minutes * one.nbytes / 4
    assert list(tmp_path.iterdir()) == []


def test_hours_of_silence_take_little_memory(tmp_path, params):
    path = tmp_path / "raw/ney/silence.flac"
    path.parent.mkdir(parents=True)
    with soundfile.SoundFile(path, "w", 8_000, 1, "PCM_16") as file:
        for _ in range(180):
            file.write(np.zeros(60 * 8_000, np.int16))
    write(tmp_path / "raw/ney/a.wav", noise(6))
    tracemalloc.start()
    rows, _ = sliced(tmp_path / "raw", tmp_path / "out", params)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert rows[1]["reason"].startswith("silent: ")
    assert rows[1]["seconds"] == 180 * 60
    assert peak < 180 * 60 * 24_000 * 4 / 10


def test_a_recording_that_turns_out_bad_at_its_end_leaves_nothing_in_the_shard(tmp_path, params):
    spoilt = noise(130.0)
    spoilt[125 * 24_000] = np.nan
    write(tmp_path / "raw/ney/a.wav", spoilt, subtype="FLOAT")
    write(tmp_path / "raw/ney/b.wav", noise(11, 2))
    rows, slices = sliced(tmp_path / "raw", tmp_path / "out", params)
    assert [row["status"] for row in rows] == ["rejected", "ok"]
    assert "the first at 125.00 s" in rows[0]["reason"]
    with tarfile.open(tmp_path / "out/shard-00000.tar") as shard:
        assert [one.removesuffix(".flac") for one in shard.getnames()] == [row["slice_id"] for row in slices]


def test_all_that_is_odd_about_a_recording_is_said_in_one_reason(tmp_path, params):
    sound = noise(10, 1, 8_000)
    path = write(tmp_path / "raw/ney/a.wav", np.stack([sound, -sound], axis=1), 8_000, subtype="PCM_16")
    whole = bytearray(path.read_bytes())
    at = whole.index(b"data") + 4
    whole[at : at + 4] = bytes(4)
    path.write_bytes(whole)
    write(tmp_path / "raw/ney/dc.wav", np.full(240_000, 0.5, np.float32))
    write(tmp_path / "raw/ney/wild.wav", np.full(240_000, 1e30, np.float32), subtype="FLOAT")
    rows, slices = sliced(tmp_path / "raw", tmp_path / "out", params)
    reasons = [row["reason"] for row in rows]
    assert reasons[0] == (
        "used, but its header wrongly promises 0 bytes of sound; the 320,000 that follow were read; "
        "its channels are in opposite phase and cancel each other; the louder one was taken; "
        "at 8000 Hz it holds nothing above 4000 Hz"
    )
    assert reasons[1].startswith("silent: no slice reaches")
    assert reasons[2].startswith("peaks at 1e+30 at 0.00 s, 600 dB above full scale")
    assert len(slices) == 2
    assert slices[0]["rms_dbfs"] == pytest.approx(-20, abs=1)


def test_a_decoder_that_fails_in_its_own_way_costs_its_recording_alone(tmp_path, params, monkeypatch):
    def raises(*_: object) -> None:
        raise ValueError("arrays of other shapes")

    write(tmp_path / "raw/ney/a.flac", noise(10))
    (tmp_path / "raw/ney/b.m4a").write_bytes(b"sound" * 1_000)
    monkeypatch.setattr(audio.decoding.ffmpeg, "blocks", raises)
    monkeypatch.setattr(audio.decoding.ffmpeg, "seconds", lambda _: (10.0, True))
    rows, slices = sliced(tmp_path / "raw", tmp_path / "out", params)
    assert len(slices) == 2
    assert [row["reason"] for row in rows if row["path"].endswith("b.m4a")] == [
        "cannot be decoded (arrays of other shapes); is it a damaged file, or another format?"
    ]
