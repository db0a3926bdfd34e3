import pytest
import torch
from small_mert import NO_DROPOUT, SMALL, noise

from tarkib.models.mert_config import MertConfig
from tarkib.models.mert_convolutions import FeatureEncoder, convolve


def encoder(**config: object) -> FeatureEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = FeatureEncoder(MertConfig(**{**SMALL, **NO_DROPOUT, **config}))
        for parameter in made.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return made


def both(made: FeatureEncoder, samples: torch.Tensor) -> list[torch.Tensor]:
    """Features by conv1d and by products."""
    features = []
    for products in (False, True):
        made.products = products
        features.append(made(samples))
    return features


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2), (5, 2), (4, 1), (19, 16)])
@pytest.mark.parametrize("length", [64, 65, 79])
def test_a_convolution_in_products_is_conv1d(kernel, stride, length):
    results = []
    for way in ("conv1d", "products"):
        frames = noise(length, 3, seed=1).double().requires_grad_()
        weight = noise(4, 3, kernel, seed=2).double().requires_grad_()
        if way == "conv1d":
            found = torch.nn.functional.conv1d(frames.T[None], weight, stride=stride)[0].T
        else:
            found = convolve(frames, weight, stride)
        (found.sin() * noise(*found.shape, seed=3)).sum().backward()
        results.append((found, frames.grad, weight.grad))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2)])
def test_gradients_of_products_are_those_of_finite_differences(kernel, stride):
    frames, weight = noise(9, 2).double().requires_grad_(), noise(3, 2, kernel, seed=2).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda *tensors: convolve(*tensors, stride), (frames, weight))
    # Where only one of the two is trained, the other gets none.
    assert torch.autograd.gradcheck(lambda one: convolve(frames.detach(), one, stride), (weight,))
    assert torch.autograd.gradcheck(lambda one: convolve(one, weight.detach(), stride), (frames,))


@pytest.mark.parametrize("length", [120_000, 12_000, 11_999, 12_345])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"feat_extract_norm": "layer"},
        {"conv_dim": (4, 4), "conv_kernel": (40, 19), "conv_stride": (20, 16)},
        {"conv_dim": (4,), "conv_kernel": (400,), "conv_stride": (320,)},
    ],
)
def test_features_and_gradients_are_equal_in_double_precision(config, length):
    made, samples = encoder(**config).double(), 0.3 * noise(3, length).double()
    gradients = []
    features = both(made, samples)
    for found in features:
        made.zero_grad()
        found.sin().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in made.parameters()])
    assert features[0].shape == features[1].shape
    torch.testing.assert_close(features[1], features[0], atol=1e-12, rtol=0)
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12 * float(theirs.abs().max()), rtol=0)


def swing() -> tuple[FeatureEncoder, torch.Tensor]:
    """Filters that hear differences alone, and a slow swing with a little noise, of which they cancel nearly all."""
    made, time = encoder(), torch.arange(12_000) / 24_000
    weight = made.conv_layers[0].conv.weight
    weight.data -= weight.mean(dim=2, keepdim=True)
    tones = torch.stack([torch.sin(2 * torch.pi * hz * time) for hz in (20, 30)])
    return made, tones + 0.001 * noise(2, 12_000)


@pytest.mark.parametrize("cancelled", [False, True])
def test_features_are_equal_up_to_rounding_in_single_precision(cancelled):
    made, samples = swing() if cancelled else (encoder(), noise(2, 12_000))
    by_conv1d, by_products = both(made, samples)
    expected = made.double()(samples.double()).float()
    for found in (by_conv1d, by_products):
        torch.testing.assert_close(found, expected, atol=5e-5 * float(expected.detach().abs().max()), rtol=0)


def test_under_autocast_products_are_no_further_from_single_precision_than_conv1d():
    made, samples = swing()
    with torch.no_grad():
        expected = made(samples)
        with torch.autocast("cpu", torch.bfloat16):
            errors = [float((found.float() - expected).square().mean().sqrt()) for found in both(made, samples)]
    assert errors[1] < 0.5 * errors[0]
    assert errors[1] < 0.02 * float(expected.square().mean().sqrt())


@pytest.mark.parametrize(
    "config", [{"conv_bias": True}, {"conv_dim": (4,), "conv_kernel": (10,), "conv_stride": (320,)}]
)
def test_configurations_without_a_form_in_products_take_conv1d(config):
    features = both(encoder(**config), noise(1, 12_000))
    assert torch.equal(*features)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_takes_products_and_gives_what_a_cpu_gives():
    made, samples = encoder(), noise(2, 12_000)
    expected = made(samples)
    found = made.cuda()(samples.cuda())
    torch.testing.assert_close(found.cpu(), expected, atol=2e-5, rtol=0)
    made.products = True
    assert torch.equal(made(samples.cuda()), found)
