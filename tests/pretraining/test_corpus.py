# ruff: noqa: F401, F811 (fixtures are imported)
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write
from small_corpus import corpus, melody, pretrain_params, recordings

from tarkib import audio
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE, clips
from tarkib.errors import TarkibError
from tarkib.pretraining import corpus as corpora
from tarkib.pretraining.corpus import Corpus, Excerpts, distances_to_visible, split


def cut(root: Path, cache: Path) -> Corpus:
    return corpora.cut(root, cache, workers=1)


def test_any_five_seconds_are_those_of_the_file(tmp_path, monkeypatch):
    root = tmp_path / "in"
    stereo = np.stack([melody(12.3, 1, 44_100), melody(12.3, 2, 44_100)], axis=1)
    write(root / "a.wav", stereo, 44_100, subtype="FLOAT")
    write(root / "b/c.flac", melody(5.0, 3))
    write(root / "b/d.ogg", melody(75.2, 4))
    write(root / "e.wav", melody(2.5, 5))
    monkeypatch.setattr(clips, "CLIPS_PER_SHARD", 4)
    corpus = cut(root, tmp_path / "cache")
    paths = [entry.path for entry in corpora.find(root)]
    assert paths == ["a.wav", "b/c.flac", "b/d.ogg", "e.wav"]
    assert corpus.skipped == []
    assert len(list((tmp_path / "cache").glob("*/*.tar"))) > 1
    for number, path in enumerate(paths):
        whole = audio.load(root / path).samples
        assert abs(int(corpus.lengths[number]) - whole.size) <= 1
        for start in (0, 17, CLIP_SAMPLES - 1, CLIP_SAMPLES, 9 * CLIP_SAMPLES + 5, whole.size - CLIP_SAMPLES):
            if 0 <= start < whole.size:
                found, expected = corpus.read(number, start), audio.fit(whole[start : start + CLIP_SAMPLES])
                assert found.shape == (CLIP_SAMPLES,)
                # Rounded to 16 bits; resampling in a stream rounds a little differently.
                np.testing.assert_allclose(found, expected, atol=3e-4)
    assert corpus.seconds == pytest.approx(12.3 + 5.0 + 75.2 + 2.5, abs=0.01)


def test_unusable_recordings_are_named_and_skipped(tmp_path):
    root = tmp_path / "in"
    write(root / "good.flac", melody(6.0, 1))
    write(root / "short.flac", melody(0.7, 1))
    write(root / "silent.wav", np.zeros(6 * SAMPLE_RATE, np.float32))
    write(root / "nan.wav", np.full(6 * SAMPLE_RATE, np.nan, np.float32), subtype="FLOAT")
    (root / "damaged.flac").write_bytes((root / "good.flac").read_bytes()[:20_000])
    (root / "empty.mp3").touch()
    (root / "broken.wav").symlink_to(root / "nowhere.wav")
    (root / ".hidden.flac").write_bytes((root / "good.flac").read_bytes())
    (root / "notes.txt").write_text("no sound")
    corpus = cut(root, tmp_path / "cache")
    reasons = {
        "broken.wav": "cannot be opened",
        "damaged.flac": "cannot be decoded",
        "empty.mp3": "the file is empty",
        "nan.wav": "NaN",
        "short.flac": "0.70 s long",
        "silent.wav": "silent throughout",
    }
    assert len(corpus.skipped) == len(reasons)
    for line, (name, reason) in zip(corpus.skipped, reasons.items(), strict=True):
        assert line.startswith(f"{name}: ")
        assert reason in line
        assert line.endswith("; skipped")
    assert len(corpus.lengths) == 1
    np.testing.assert_allclose(corpus.read(0, 24_000), melody(6.0, 1)[24_000:], atol=1e-4)
    # They are named also when the corpus is reused.
    assert cut(root, tmp_path / "cache").skipped == corpus.skipped


def test_no_usable_recording_is_an_error(tmp_path):
    with pytest.raises(TarkibError, match=r"nowhere: no such folder; .*pretrain\.recordings"):
        cut(tmp_path / "nowhere", tmp_path / "cache")
    (tmp_path / "in").mkdir()
    with pytest.raises(TarkibError, match=r"in: no recordings; .*\.flac"):
        cut(tmp_path / "in", tmp_path / "cache")
    write(tmp_path / "in/a.wav", np.zeros(SAMPLE_RATE * 2, np.float32))
    with pytest.raises(TarkibError, match=r"in: no usable recording\n  a\.wav: silent"):
        cut(tmp_path / "in", tmp_path / "cache")
    write(tmp_path / "in/b.flac", melody(6.0, 1))
    with pytest.raises(TarkibError, match="one usable recording is not enough"):
        split(cut(tmp_path / "in", tmp_path / "cache"), 1)


def test_recordings_are_cut_once_and_again_when_they_change(tmp_path, monkeypatch):
    root = tmp_path / "in"
    write(root / "a.flac", melody(6.0, 1))
    first = cut(root, tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(audio, "Stream", None)
        assert cut(root, tmp_path / "cache").identity == first.identity
    write(root / "a.flac", melody(6.0, 2))
    second = cut(root, tmp_path / "cache")
    assert second.identity != first.identity
    (root / "a.flac").rename(root / "b.flac")
    assert cut(root, tmp_path / "cache").identity != second.identity


def excerpts(corpus: Corpus, count: int | None = 40, **changed: object) -> Excerpts:
    return Excerpts(corpus, np.arange(len(corpus.lengths)), count, 374, pretrain_params(**changed))


def equal(first: dict, second: dict) -> bool:
    return all(torch.equal(first[key], second[key]) for key in ("samples", "distance"))


def test_an_item_depends_on_the_seed_and_its_number_alone(corpus):
    data = excerpts(corpus)
    items = [data[i] for i in range(len(data))]
    again = excerpts(corpus, count=30)
    assert all(equal(items[i], again[i]) for i in (25, 3, 29, 0, 12))
    other = excerpts(corpus, seed=2)
    # Many clips are the last five seconds of their recordings.
    assert sum(torch.equal(items[i]["samples"], other[i]["samples"]) for i in range(40)) < 20
    assert not any(torch.equal(items[i]["distance"], other[i]["distance"]) for i in range(40))
    assert len({item["samples"].numpy().tobytes() for item in items}) > 20
    assert items[0]["samples"].dtype == torch.float32
    assert items[0]["samples"].shape == (CLIP_SAMPLES,)


def test_every_piece_comes_once_in_a_pass_and_is_not_cut_short(tmp_path):
    # A level for each recording, and within it a rise: so a clip shows its origin.
    for number, seconds in enumerate((12.0, 5.0, 23.0, 3.0)):
        ramp = np.linspace(0, 0.02, int(seconds * 24_000), dtype=np.float32)
        write(tmp_path / f"in/{number}.wav", 0.1 + 0.1 * number + ramp, subtype="FLOAT")
    corpus = cut(tmp_path / "in", tmp_path / "cache")
    assert len(excerpts(corpus, count=None)) == 3 + 1 + 5 + 1
    data = excerpts(corpus, count=20)
    assert len(list(data)) == 20
    orders = []
    for number in range(2):
        owners, starts = [], []
        for i in range(number * 10, number * 10 + 10):
            clip = data[i]["samples"].numpy()
            owner = int((clip.max() - 0.1) / 0.1 + 1e-3)
            owners.append(owner)
            starts.append((clip[0] - 0.1 - 0.1 * owner) / 0.02)
            # Only a recording shorter than a clip has silence behind it.
            assert (clip[-1] == 0) == (owner == 3)
        assert sorted(owners) == [0, 0, 0, 1, 2, 2, 2, 2, 2, 3]
        assert max(starts) <= 1 - 5 / 23 + 1e-3
        assert len(set(np.round(starts, 4))) > 5
        orders.append(owners)
    assert orders[0] != orders[1]


def test_masks_are_spans_with_their_distances_and_cover_the_asked_share(corpus):
    for share, length in ((0.5, 10), (0.3, 20), (0.8, 5)):
        data = excerpts(corpus, mask_share=share, mask_frames=length, count=60)
        found = np.stack([data[i]["distance"].numpy() for i in range(60)])
        masks = found > 0
        assert masks.mean() == pytest.approx(share, abs=0.06)
        assert masks.any(axis=1).all()
        for distance, mask in zip(found, masks, strict=True):
            assert np.array_equal(distance, distances_to_visible(mask))
            edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
            assert (edges[1::2] - edges[::2]).min() >= length


def test_recordings_held_out_are_others(corpus):
    learn_from, held_out = split(corpus, 1)
    assert sorted([*learn_from, *held_out]) == [0, 1, 2, 3]
    assert len(held_out) == 1
    assert {int(split(corpus, seed)[1][0]) for seed in range(20)} == {0, 1, 2, 3}
