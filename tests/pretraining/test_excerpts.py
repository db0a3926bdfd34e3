# ruff: noqa: F401, F811 (fixtures are imported)
import numpy as np
import pytest
import torch
from small_corpus import corpus, melody, pretrain_params, recordings, write

from tarkib.audio import CLIP_SAMPLES
from tarkib.errors import TarkibError
from tarkib.pretraining.corpus import Corpus, cut
from tarkib.pretraining.excerpts import Excerpts, depths, split


def excerpts(corpus: Corpus, count: int | None = 40, **changed: object) -> Excerpts:
    return Excerpts(corpus, np.arange(len(corpus.lengths)), count, 374, pretrain_params(**changed))


def equal(first: dict, second: dict) -> bool:
    return all(torch.equal(first[key], second[key]) for key in ("samples", "depth"))


def test_an_item_depends_on_the_seed_and_its_number_alone(corpus):
    data = excerpts(corpus)
    items = [data[i] for i in range(len(data))]
    again = excerpts(corpus, count=30)
    assert all(equal(items[i], again[i]) for i in (25, 3, 29, 0, 12))
    other = excerpts(corpus, seed=2)
    # Many clips are the last five seconds of their recordings.
    assert sum(torch.equal(items[i]["samples"], other[i]["samples"]) for i in range(40)) < 20
    assert not any(torch.equal(items[i]["depth"], other[i]["depth"]) for i in range(40))
    assert len({item["samples"].numpy().tobytes() for item in items}) > 20
    assert items[0]["samples"].dtype == torch.float32
    assert items[0]["samples"].shape == (CLIP_SAMPLES,)


def test_every_piece_comes_once_in_a_pass_and_is_not_cut_short(tmp_path):
    # A level for each recording, and within it a rise: so a clip shows its origin.
    for number, seconds in enumerate((12.0, 5.0, 23.0, 3.0)):
        ramp = np.linspace(0, 0.02, int(seconds * 24_000), dtype=np.float32)
        write(tmp_path / f"in/{number}.wav", 0.1 + 0.1 * number + ramp, subtype="FLOAT")
    corpus = cut(tmp_path / "in", tmp_path / "cache", workers=1)
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


def test_masks_are_spans_with_their_depths_and_cover_the_asked_share(corpus):
    for share, length in ((0.5, 10), (0.3, 20), (0.8, 5)):
        data = excerpts(corpus, mask_share=share, mask_frames=length, count=60)
        found = np.stack([data[i]["depth"].numpy() for i in range(60)])
        masks = found > 0
        assert masks.mean() == pytest.approx(share, abs=0.06)
        assert masks.any(axis=1).all()
        for depth, mask in zip(found, masks, strict=True):
            assert np.array_equal(depth, depths(mask))
            edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(int), [0]])))
            assert (edges[1::2] - edges[::2]).min() >= length


def test_recordings_held_out_are_others(corpus):
    learn_from, held_out = split(corpus, 1)
    assert sorted([*learn_from, *held_out]) == [0, 1, 2, 3]
    assert len(held_out) == 1
    assert {int(split(corpus, seed)[1][0]) for seed in range(20)} == {0, 1, 2, 3}


def test_a_single_recording_is_not_enough(tmp_path):
    write(tmp_path / "in/a.flac", melody(6.0, 1))
    with pytest.raises(TarkibError, match="one usable recording is not enough"):
        split(cut(tmp_path / "in", tmp_path / "cache", workers=1), 1)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6, 0.95, 1.0])
def test_depth_is_the_distance_to_the_nearest_visible_frame(share):
    mask = np.random.default_rng(3).random(60) < share
    visible = np.flatnonzero(~mask)
    expected = [min(abs(visible - t)) if visible.size else 60 for t in range(60)]
    assert depths(mask).tolist() == expected
