import numpy as np
import pytest
import torch
from small_corpus import melody
from small_mert import tiny

from tarkib.errors import TarkibError
from tarkib.models.mert import MertModel, normalise
from tarkib.pretraining.excerpts import depths
from tarkib.pretraining.prediction import MaskedPrediction
from tarkib.pretraining.teachers import Teachers

FRAMES = 374


def small(**config: object) -> MaskedPrediction:
    torch.manual_seed(0)
    backbone = MertModel(tiny(**config))
    teachers = Teachers(backbone.config, 6)
    teachers.fit([{"samples": torch.from_numpy(melody(5.0, seed=i))} for i in range(4)], seed=1)
    return MaskedPrediction(backbone, teachers, seed=1).eval()


def clips(*seeds: int) -> torch.Tensor:
    return torch.stack([torch.from_numpy(melody(5.0, seed=seed)) for seed in seeds])


def masked(*spans: tuple[int, int]) -> torch.Tensor:
    mask = np.zeros(FRAMES, dtype=bool)
    for begin, end in spans:
        mask[begin:end] = True
    return torch.from_numpy(depths(mask))


@torch.no_grad()
def test_scores_are_what_their_formulas_say():
    model, samples = small(), clips(20, 21)
    depth = torch.stack([masked((10, 40), (100, 170)), masked((300, 374))])
    found = model(samples, depth)
    normal = normalise(samples)
    hidden = model.backbone(normal, mask_time_indices=depth > 0).last_hidden_state.double().numpy()
    clusters = model.teachers.clusters(normal, FRAMES).numpy()
    spectrum = model.teachers.spectrum(normal, FRAMES).numpy()
    counts = model.teachers.unseen(depth).numpy()
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    for b in range(2):
        entropies, rights, errors = [], [], []
        for t in np.flatnonzero(depth[b].numpy()):
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
    depth = masked((100, 200))[None]
    reach = int(max(400, float(model.teachers.constant_q.extents.max()))) // 2

    def predict(samples: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = model.backbone(samples, mask_time_indices=depth > 0).last_hidden_state
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


def test_all_that_is_learnt_has_a_gradient():
    model = small().train()
    scores = model(clips(23, 24), torch.stack([masked((50, 90)), masked((150, 250))]))
    (scores.acoustic.mean() + scores.musical.mean()).backward()
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == []
    assert float(model.backbone.masked_spec_embed.grad.abs().sum()) > 0


def test_every_layer_is_recomputed_in_training_where_asked():
    samples, depth = clips(25), masked((50, 90))[None]
    model, calls = small().train(), []
    model.backbone.encoder.layers[1].attention.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    for times in (1, 2):
        calls.clear()
        model(samples, depth).acoustic.mean().backward()
        assert len(calls) == times
        model.gradient_checkpointing_enable()


def test_a_backbone_without_an_embedding_for_masked_frames_is_refused():
    backbone = MertModel(tiny(mask_time_prob=0.0))
    with pytest.raises(TarkibError, match=r"pretrain\.start: .*mask_time_prob.*choose another"):
        MaskedPrediction(backbone, Teachers(backbone.config, 6), seed=1)
