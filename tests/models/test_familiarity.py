import numpy as np
import pytest
import torch
from small_classifier import write_classifier

from tarkib.models import load
from tarkib.models.familiarity import Familiarity
from tarkib.recognition import Recogniser


def states(count: int, seed: int) -> np.ndarray:
    """From a Gaussian with mean (5, 0, 0); one entry has four times the deviation of another, one is always 0."""
    draws = np.random.default_rng(seed).normal(size=(count, 3))
    return (draws * [2.0, 0.5, 0.0] + [5.0, 0.0, 0.0]).astype(np.float32)


def test_a_distance_is_in_standard_deviations_over_the_limit():
    familiarity = Familiarity.fitted(states(4_000, 1), states(1_000, 2))
    points = torch.tensor([[5.0, 0.0, 0.0], [9.0, 0.0, 0.0], [5.0, 1.0, 0.0], [5.0, 0.0, 1.0]])
    centre, wide, narrow, dead = familiarity(points).tolist()
    # 99 % of a Gaussian in two dimensions lie within 3.03 standard deviations; the limit has a margin of a tenth.
    assert centre < 0.05
    assert wide == pytest.approx(2 / (1.1 * 3.03), rel=0.1)
    assert narrow == pytest.approx(wide, rel=0.1)
    assert dead > 5
    assert (familiarity(torch.from_numpy(states(1_000, 3))) > 1).float().mean() < 0.02


def test_a_saved_classifier_knows_what_it_is_familiar_with(tmp_path):
    folder = write_classifier(tmp_path / "classifier")
    classifier = load(folder)
    assert classifier.familiarity is None
    sound = np.random.default_rng(0).normal(0, 0.1, 8 * 24_000).astype(np.float32), 24_000
    assert np.isnan(Recogniser(classifier, device="cpu")(sound).distances).all()

    # Every state is far from a Gaussian around -100.
    size = classifier.head[0].in_features
    training = np.random.default_rng(1).normal(-100, 1, (50, size)).astype(np.float32)
    classifier.familiarity = Familiarity.fitted(training, training)
    classifier.save(folder)
    again = Recogniser(load(folder), device="cpu")(sound)
    assert (again.distances > 5).all()
    assert again.unfamiliar
    np.testing.assert_allclose(again.distances, Recogniser(classifier, device="cpu")(sound).distances, rtol=1e-4)
