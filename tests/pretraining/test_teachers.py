import numpy as np
import pytest
import torch
from small_corpus import melody
from small_mert import tiny

from tarkib.errors import TarkibError
from tarkib.models.mert import MertConfig, MertModel, frame_count, normalise
from tarkib.pretraining.excerpts import depths
from tarkib.pretraining.teachers import Teachers

TINY = tiny()
FRAMES = 374


def clips(count: int) -> list[dict]:
    return [{"samples": torch.from_numpy(melody(5.0, seed=10 + i))} for i in range(count)]


@pytest.fixture
def fitted() -> tuple[Teachers, list[dict]]:
    teachers, items = Teachers(TINY, 6), clips(6)
    teachers.fit(items, seed=1)
    return teachers, items


@pytest.mark.parametrize("config", [TINY, MertConfig()])
def test_frames_are_the_models(config):
    with torch.device("meta"):
        features = MertModel(config).feature_extractor.conv_layers
        samples = torch.zeros(1, 1, 120_000)
        for layer in features:
            samples = layer.conv(samples)
    assert frame_count(config, 120_000) == samples.shape[-1] == FRAMES


@pytest.mark.parametrize("frame", [3, 200, 372])
def test_both_teachers_place_an_event_in_its_frame(frame):
    teachers = Teachers(TINY, 2)
    samples = torch.zeros(1, 120_000)
    samples[0, 320 * frame + 160] = 1.0
    assert int(teachers.log_mel(samples, FRAMES)[0].sum(dim=1).argmax()) == frame
    assert int(teachers.spectrum(samples, FRAMES)[0, :, 60:].sum(dim=1).argmax()) == frame
    assert teachers.log_mel(samples, FRAMES).shape == (1, FRAMES, 80)


def test_clusters_are_the_nearest_centroids_and_their_shares_are_counted(fitted):
    teachers, items = fitted
    samples = normalise(torch.stack([item["samples"] for item in items]))
    found = teachers.clusters(samples, FRAMES)
    bands = ((teachers.log_mel(samples, FRAMES) - teachers.bands_mean) / teachers.bands_scale).numpy()
    distances = np.linalg.norm(bands[:, :, None] - teachers.centroids.numpy(), axis=-1)
    assert (found.numpy() == distances.argmin(axis=-1)).mean() > 0.999
    assert set(found.unique().tolist()) == set(range(6))
    assert float(teachers.shares.sum()) == pytest.approx(1)
    counted = np.bincount(found.flatten().numpy(), minlength=6) / found.numel()
    np.testing.assert_allclose(teachers.shares.numpy(), counted, atol=0.08)


def test_the_spectrum_is_standardised(fitted):
    teachers, items = fitted
    bins = teachers.spectrum(normalise(torch.stack([item["samples"] for item in items])), FRAMES)
    assert bins.shape == (6, FRAMES, 96)
    assert float(bins.mean(dim=(0, 1)).abs().max()) < 0.35
    assert 0.5 < float(bins.std()) < 1.3


def test_the_same_seed_finds_the_same_clusters(fitted):
    again, other = Teachers(TINY, 6), Teachers(TINY, 6)
    again.fit(clips(6), seed=1)
    other.fit(clips(6), seed=2)
    assert all(torch.equal(a, b) for a, b in zip(again.buffers(), fitted[0].buffers(), strict=True))
    assert not torch.equal(other.centroids, again.centroids)


def test_more_clusters_than_frames_is_an_error():
    with pytest.raises(TarkibError, match=r"pretrain\.clusters: .*fewer than 6 different frames in 3 clips"):
        Teachers(TINY, 6).fit([{"samples": torch.zeros(120_000)}] * 3, seed=1)


def test_a_bin_counts_only_if_no_visible_frame_shares_its_window():
    teachers = Teachers(TINY, 2)
    mask = np.zeros(FRAMES, dtype=bool)
    mask[100:180] = True
    unseen = teachers.unseen(torch.from_numpy(depths(mask))[None])[0]
    assert not unseen[~torch.from_numpy(mask)].any()
    assert unseen[:, -1].nonzero().flatten().tolist() == list(range(101, 179))
    # The lowest bin's window lasts 0.42 s, 32 frames.
    assert unseen[:, 0].nonzero().flatten().tolist() == list(range(131, 149))
    noise = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 120_000)).astype(np.float32))
    before = teachers.constant_q(noise)[0, :, :FRAMES]
    for k in (0, 12, 30, 47, 70, 95):
        # What the first frame that counts looks at.
        centre = 320 * int(unseen[:, k].nonzero()[0]) + 160
        half = int(teachers.constant_q.extents[k] / 2)

        def seen(shift: int, k: int = k, centre: int = centre, half: int = half) -> float:
            """How much visible frames show of other sound there, as a share of what the masked ones would show."""
            changed = noise.clone()
            changed[:, centre - shift - half : centre - shift + half] *= -3
            difference = (teachers.constant_q(changed)[0, :, :FRAMES] - before)[k].abs()
            return float(difference[~mask].max() / difference.max())

        assert seen(0) < 1e-3
        assert seen(half + 320) > 0.02


def test_without_the_branch_every_masked_frame_counts_whole():
    depth = torch.from_numpy(depths(np.arange(FRAMES) % 7 > 2))[None]
    unseen = Teachers(MertConfig(), 2).unseen(depth)
    assert torch.equal(unseen, (depth > 0)[..., None].expand(-1, -1, 96))
