import numpy as np
import pytest
import torch
from models.small_mert import tiny
from small_corpus import melody

from tarkib.errors import TarkibError
from tarkib.models.mert import MertModel, normalise
from tarkib.models.mert_config import MertConfig
from tarkib.pretraining.corpus import distances_to_visible
from tarkib.pretraining.prediction import MaskedPrediction, Teachers

TINY = tiny()
FRAMES = 374


def clips(*seeds: int) -> torch.Tensor:
    return torch.stack([torch.from_numpy(melody(5.0, seed=seed)) for seed in seeds])


def fitted(seed: int = 1, config: MertConfig = TINY) -> Teachers:
    teachers = Teachers(config, 6)
    teachers.fit([{"samples": clip} for clip in clips(*range(6))], seed=seed)
    return teachers


def small(**config: object) -> MaskedPrediction:
    torch.manual_seed(0)
    backbone = MertModel(tiny(**config))
    return MaskedPrediction(backbone, fitted(config=backbone.config), seed=1).eval()


def masked(*spans: tuple[int, int]) -> torch.Tensor:
    mask = np.zeros(FRAMES, dtype=bool)
    for begin, end in spans:
        mask[begin:end] = True
    return torch.from_numpy(distances_to_visible(mask))


@pytest.mark.parametrize("config", [TINY, MertConfig()])
def test_frames_are_the_models(config):
    with torch.device("meta"):
        features = MertModel(config).feature_extractor.conv_layers
        samples = torch.zeros(1, 1, 120_000)
        for layer in features:
            samples = layer.conv(samples)
    assert config.frame_count(120_000) == samples.shape[-1] == FRAMES


@pytest.mark.parametrize("frame", [3, 200, 372])
def test_both_teachers_place_an_event_in_its_frame(frame):
    teachers = Teachers(TINY, 2)
    samples = torch.zeros(1, 120_000)
    samples[0, 320 * frame + 160] = 1.0
    assert int(teachers.log_mel(samples, FRAMES)[0].sum(dim=1).argmax()) == frame
    assert int(teachers.spectrum(samples, FRAMES)[0, :, 60:].sum(dim=1).argmax()) == frame
    assert teachers.log_mel(samples, FRAMES).shape == (1, FRAMES, 80)


def test_clusters_are_the_nearest_centroids_and_their_shares_are_counted():
    teachers, samples = fitted(), normalise(clips(*range(6)))
    found = teachers.clusters(samples, FRAMES)
    bands = ((teachers.log_mel(samples, FRAMES) - teachers.bands_mean) / teachers.bands_scale).numpy()
    distances = np.linalg.norm(bands[:, :, None] - teachers.centroids.numpy(), axis=-1)
    assert (found.numpy() == distances.argmin(axis=-1)).mean() > 0.999
    assert set(found.unique().tolist()) == set(range(6))
    assert float(teachers.shares.sum()) == pytest.approx(1)
    counted = np.bincount(found.flatten().numpy(), minlength=6) / found.numel()
    np.testing.assert_allclose(teachers.shares.numpy(), counted, atol=0.08)


def test_more_clusters_than_frames_is_an_error():
    with pytest.raises(TarkibError, match=r"pretrain\.clusters: .*fewer than 6 different frames in 3 clips"):
        Teachers(TINY, 6).fit([{"samples": torch.zeros(120_000)}] * 3, seed=1)


def test_without_the_branch_every_masked_frame_counts_whole():
    distance = torch.from_numpy(distances_to_visible(np.arange(FRAMES) % 7 > 2))[None]
    unseen = Teachers(MertConfig(), 2).unseen(distance)
    assert torch.equal(unseen, (distance > 0)[..., None].expand(-1, -1, 96))


@torch.no_grad()
def test_scores_are_what_their_formulas_say():
    model, samples = small(), clips(20, 21)
    distance = torch.stack([masked((10, 40), (100, 170)), masked((300, 374))])
    found = model(samples, distance)
    normal = normalise(samples)
    hidden = model.backbone(normal, distance > 0).double().numpy()
    clusters = model.teachers.clusters(normal, FRAMES).numpy()
    spectrum = model.teachers.spectrum(normal, FRAMES).numpy()
    counts = model.teachers.unseen(distance).numpy()
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    for b in range(2):
        entropies, rights, errors = [], [], []
        for t in np.flatnonzero(distance[b].numpy()):
            vector = weights["acoustic_head.weight"] @ hidden[b, t] + weights["acoustic_head.bias"]
            codes = weights["codes"]
            cosines = codes @ vector / np.linalg.norm(codes, axis=1) / np.linalg.norm(vector)
            likelihoods = np.exp(cosines / 0.1) / np.exp(cosines / 0.1).sum()
            entropies.append(-np.log(likelihoods[clusters[b, t]]))
            rights.append(likelihoods.argmax() == clusters[b, t])
            bins = weights["musical_head.weight"] @ hidden[b, t] + weights["musical_head.bias"]
            errors += list((bins - spectrum[b, t])[counts[b, t]] ** 2)
        assert float(found.acoustic[b]) == pytest.approx(np.mean(entropies), rel=1e-5)
        assert float(found.accuracy[b]) == pytest.approx(np.mean(rights), rel=1e-5)
        assert float(found.musical[b]) == pytest.approx(np.mean(errors), rel=1e-5)


@torch.no_grad()
def test_predictions_depend_on_a_masked_span_only_through_the_windows_of_visible_frames():
    # Norms over channels in place of time: the published ones see the whole clip's mean and variance, and no more.
    model, samples = small(feat_extract_norm="layer"), normalise(clips(22))
    distance = masked((100, 200))[None]
    reach = int(max(400, float(model.teachers.constant_q.extents.max()))) // 2

    def predict(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = model.backbone(samples, distance > 0)
        return model.logits(hidden), model.musical_head(hidden)

    def changed(begin: int, end: int) -> float:
        other = samples.clone()
        other[:, begin:end] = other[:, begin:end].flip(1) * -0.5
        return max(float((a - b).abs().max()) for a, b in zip(predict(samples), predict(other), strict=True))

    # Beyond the windows of the last visible frame before the span and of the first one after it. Not quite zero: the
    # halving of the rate, by cutting the spectrum, rings.
    assert changed(99 * 320 + 160 + reach, 200 * 320 + 160 - reach) < 5e-4
    assert changed(99 * 320 + 160 + reach // 8, 200 * 320 + 160 - reach // 8) > 1e-2
    assert changed(60 * 320, 90 * 320) > 1e-2


def test_a_backbone_without_an_embedding_for_masked_frames_is_refused():
    backbone = MertModel(tiny(mask_time_prob=0.0))
    with pytest.raises(TarkibError, match=r"pretrain\.start: .*mask_time_prob.*choose another"):
        MaskedPrediction(backbone, Teachers(backbone.config, 6), seed=1)
