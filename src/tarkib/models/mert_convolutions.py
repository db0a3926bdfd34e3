"""MERT's first part: strided convolutions of the samples, with constant-Q bins beside them.

There are two implementations with the same result up to rounding. On a CPU, torch's `conv1d` with channels before time.
On a CUDA device, matrix products with time before channels, which need no transposed copies: the clips of a batch are
one sequence of frames `[N, C]`, each padded so that it has a whole number of frames after every convolution. For
example, a kernel of 3 with a stride of 2 is the sum of two products, with (a view of) pairs of frames and with every
other frame. At the end, frames that reach into the next clip are dropped.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from tarkib.models.constant_q import ConstantQ
from tarkib.models.mert_config import MertConfig
from tarkib.models.mert_layers import ACTIVATIONS, LayerNorm, recomputed


class _ConvolutionLayer(nn.Module):
    """A convolution, a norm if the configuration has one, and an activation."""

    def __init__(self, config: MertConfig, index: int):
        super().__init__()
        width, above = config.conv_dim[index], config.conv_dim[index - 1] if index else 1
        kernel, stride = config.conv_kernel[index], config.conv_stride[index]
        self.conv = nn.Conv1d(above, width, kernel, stride=stride, bias=config.conv_bias)
        self.layer_norm: nn.GroupNorm | nn.LayerNorm | None = None
        if config.feat_extract_norm == "layer":
            self.layer_norm = LayerNorm(width)
        elif index == 0:
            self.layer_norm = nn.GroupNorm(width, width)
        self.activation = ACTIVATIONS[config.feat_extract_activation]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[B, C', T']` of `[B, C, T]`."""
        features = self.conv(features)
        if isinstance(self.layer_norm, nn.LayerNorm):
            features = self.layer_norm(features.transpose(1, 2)).transpose(1, 2)
        elif self.layer_norm is not None:
            features = self.layer_norm(features)
        return self.activation(features)

    def first_product(self, windows: torch.Tensor, count: int) -> torch.Tensor:
        """Frames `[B, N, C]` from windows of samples, `[B, N, kernel]`, of which the first `count` are in the clip.

        The group norm over time is fused into the product: mean and variance of a filter's output are computed from
        those of the windows. So the largest tensor is written once, instead of written twice and read twice.
        """
        weight = self.conv.weight[:, 0]
        if isinstance(self.layer_norm, nn.GroupNorm):
            windows, weight = _with_norm(windows, count, weight, self.layer_norm)
        frames = _accurate_product(windows, weight)
        return self.activation(self.layer_norm(frames) if isinstance(self.layer_norm, nn.LayerNorm) else frames)

    def product(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames `[N', C']` of frames `[N, C]`."""
        frames = convolve(frames, self.conv.weight, self.conv.stride[0])
        return self.activation(frames if self.layer_norm is None else self.layer_norm(frames))


class FeatureEncoder(nn.Module):
    """Features of samples. With `recompute`, activations are computed again in the backward pass.

    Attributes
    ----------
    products : whether to convolve by matrix products, where the configuration allows it; None: on CUDA devices.
    """

    def __init__(self, config: MertConfig):
        super().__init__()
        self.conv_layers = nn.ModuleList(_ConvolutionLayer(config, index) for index in range(len(config.conv_dim)))
        self.recompute = False
        self.products: bool | None = None
        self._config = config
        reach = all(kernel >= stride for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True))
        self._suits_products = reach and not config.conv_bias
        self.constant_q = None
        if config.feature_extractor_cqt:
            hop, bins = math.prod(config.conv_stride), config.feature_extractor_cqt_bins
            per_octave = config.feature_extractor_cqt_bins_per_octave or bins // 7
            # The kernels are computed and in no checkpoint, so they need values also in a model on the meta device.
            with torch.device("cpu"):
                self.constant_q = ConstantQ(
                    config.sample_rate, hop, config.feature_extractor_cqt_fmin, bins, per_octave
                )

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Features `[B, T, channels]` of samples `[B, n]`."""
        if self._suits_products and (samples.is_cuda if self.products is None else self.products):
            features = self._as_products(samples)
        else:
            features = samples[:, None]
            for layer in self.conv_layers:
                features = self._run(layer, features)
            features = features.transpose(1, 2)
        if self.constant_q is None:
            return features
        bins = torch.log1p(self._config.feature_extractor_cqt_gamma * self.constant_q(samples)).transpose(1, 2)
        # The convolutions may have no context for the last constant-Q frame.
        return torch.cat([features, bins[:, : features.shape[1]].to(features.dtype)], dim=-1)

    def _run(self, function: Any, *arguments: Any) -> torch.Tensor:
        return recomputed(function, *arguments) if self.recompute and self.training else function(*arguments)

    def _as_products(self, samples: torch.Tensor) -> torch.Tensor:
        config, clips = self._config, len(samples)
        first, *others = self.conv_layers
        kernel, stride = config.conv_kernel[0], config.conv_stride[0]
        each = -(-samples.shape[1] // math.prod(config.conv_stride))
        count = each * math.prod(config.conv_stride[1:])
        padded = functional.pad(samples, (0, (count - 1) * stride + kernel - samples.shape[1]))
        valid = (samples.shape[1] - kernel) // stride + 1
        frames = self._run(first.first_product, padded.unfold(1, kernel, stride), valid).flatten(0, 1)
        for layer in others:
            frames = self._run(layer.product, frames)
        # A kernel longer than its stride has no frames for the last ones of the sequence, which are padding.
        frames = functional.pad(frames, (0, 0, 0, clips * each - len(frames)))
        return frames.unflatten(0, (clips, each))[:, : config.frame_count(samples.shape[1])]


def _with_norm(
    windows: torch.Tensor, count: int, weight: torch.Tensor, norm: nn.GroupNorm
) -> tuple[torch.Tensor, torch.Tensor]:
    """Windows `[B, N, kernel + 1]` and weights `[B, C, kernel + 1]` whose product is normalised over time.

    `weight` is `[C, kernel]`. Mean and variance are those of the first `count` windows, in double precision, since the
    output of a filter may be a small difference of large numbers.
    """
    with torch.autocast(windows.device.type, enabled=False):
        valid, wide = windows[:, :count].double(), weight.double()
        mean = valid.mean(dim=1, keepdim=True)
        centred = valid - mean
        covariance = centred.mT @ centred / count
        variance = ((wide @ covariance) * wide).sum(dim=-1)
        scale = norm.weight * torch.rsqrt(variance + norm.eps)
        shift = norm.bias - scale * (mean @ wide.T)[:, 0]
        # The last column adds the shift within the product.
        normed = torch.cat([scale[..., None] * wide, shift[..., None]], dim=-1)
    return functional.pad(windows, (0, 1), value=1.0), normed.to(weight.dtype)


def _accurate_product(windows: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Frames `[B, N, C]` of windows `[B, N, K]` and weights `[C, K]` or `[B, C, K]`.

    Under autocast only the result is rounded to 16 bits: each factor is split into a sum of two 16-bit numbers, which
    costs little, since K is small. Otherwise the output of a filter that cancels most of its input, here scaled to
    variance 1, would be mostly rounding error.
    """
    kind = windows.device.type
    if not torch.is_autocast_enabled(kind):
        return windows @ weight.mT
    high, low = _split(windows, torch.get_autocast_dtype(kind))
    weight_high, weight_low = _split(weight, torch.get_autocast_dtype(kind))
    left, right = torch.cat([high, low, high], dim=-1), torch.cat([weight_high, weight_high, weight_low], dim=-1)
    # Rows of a multiple of 16 bytes, which fast kernels need.
    rest = -left.shape[-1] % 8
    return functional.pad(left, (0, rest)) @ functional.pad(right, (0, rest)).mT


def _split(numbers: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Two tensors of a narrower type whose sum is nearly `numbers`."""
    high = numbers.to(dtype)
    return high, (numbers - high).to(dtype)


def convolve(frames: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
    """`conv1d` of one sequence of frames `[N, C]` with `weight`, `[C', C, kernel]`, in products: `[N', C']`.

    Needs a kernel no shorter than the stride. Under autocast the numbers are of its type.
    """
    kind = frames.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        frames, weight = frames.to(dtype), weight.to(dtype)
    return _Convolution.apply(frames.contiguous(), weight, stride)


class _Convolution(torch.autograd.Function):
    """A sum of products, each of up to `stride` taps of the kernel; results and gradients are added up in place."""

    @staticmethod
    def forward(ctx: Any, frames: torch.Tensor, weight: torch.Tensor, stride: int) -> torch.Tensor:
        ctx.save_for_backward(frames, weight)
        ctx.stride = stride
        count = (len(frames) - weight.shape[2]) // stride + 1
        result = frames.new_empty(count, len(weight))
        for first in range(0, weight.shape[2], stride):
            rows, matrix = _rows(frames, weight, first, stride, count), _matrix(weight, first, stride)
            torch.addmm(result, rows, matrix.T, beta=float(first > 0), out=result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        (frames, weight), stride, count = ctx.saved_tensors, ctx.stride, len(gradient)
        gradient = gradient.contiguous()
        of_frames = torch.empty_like(frames) if ctx.needs_input_grad[0] else None
        of_weight = torch.empty_like(weight) if ctx.needs_input_grad[1] else None
        if of_frames is not None:
            of_frames[count * stride :] = 0
        for first in range(0, weight.shape[2], stride):
            rows, matrix = _rows(frames, weight, first, stride, count), _matrix(weight, first, stride)
            if of_frames is not None:
                part = _rows(of_frames, weight, first, stride, count)
                torch.addmm(part, gradient, matrix, beta=float(first > 0), out=part)
            if of_weight is not None:
                taps = (gradient.T @ rows).unflatten(1, (-1, weight.shape[1]))
                of_weight[:, :, first : first + stride] = taps.transpose(1, 2)
        return of_frames, of_weight, None


def _matrix(weight: torch.Tensor, first: int, stride: int) -> torch.Tensor:
    """The taps from `first` on, up to a stride of them, as a matrix `[C', taps * C]`."""
    return weight[:, :, first : first + stride].transpose(1, 2).flatten(1)


def _rows(frames: torch.Tensor, weight: torch.Tensor, first: int, stride: int, count: int) -> torch.Tensor:
    """A view `[count, taps * C]` of the frames that those taps see, one row for each place of the kernel."""
    channels, taps = frames.shape[1], min(stride, weight.shape[2] - first)
    return frames.as_strided(
        (count, taps * channels), (stride * channels, 1), frames.storage_offset() + first * channels
    )
