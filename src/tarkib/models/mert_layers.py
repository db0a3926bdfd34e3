"""MERT's encoder: projection of the features, convolutional position embedding, transformer layers.

The layers are HuBERT's (Hsu et al., "HuBERT: Self-supervised speech representation learning by masked prediction of
hidden units", 2021), their keys as in its published checkpoints. Frames are `[B, T, H]`.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from tarkib.models.mert_config import MertConfig

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "gelu": functional.gelu,
    "gelu_new": partial(functional.gelu, approximate="tanh"),
    "relu": functional.relu,
    "selu": functional.selu,
}


class LayerNorm(nn.LayerNorm):
    """As torch's, but under autocast input and output have autocast's type, where torch would use single precision.

    Mean and variance are accumulated in single precision all the same. Torch would convert the input to it, and the
    result back for each product that uses it, in separate passes over memory (docs/performance.md).
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """`[..., width]`, normalised."""
        kind = input.device.type
        if not torch.is_autocast_enabled(kind):
            return super().forward(input)
        dtype = torch.get_autocast_dtype(kind)
        narrow, weight, bias = (tensor.to(dtype) for tensor in (input, self.weight, self.bias))
        with torch.autocast(kind, enabled=False):
            return functional.layer_norm(narrow, self.normalized_shape, weight, bias, self.eps)


class FeatureProjection(nn.Module):
    """Features `[B, T, C]`, normalised if the configuration says so, to frames `[B, T, H]`."""

    def __init__(self, config: MertConfig):
        super().__init__()
        width = config.conv_dim[-1] + config.feature_extractor_cqt * config.feature_extractor_cqt_bins
        self.layer_norm = LayerNorm(width, eps=config.layer_norm_eps) if config.feat_proj_layer_norm else None
        self.projection = nn.Linear(width, config.hidden_size)
        self.dropout = nn.Dropout(config.feat_proj_dropout)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """See the class."""
        if self.layer_norm is not None:
            features = self.layer_norm(features)
        return self.dropout(self.projection(features))


class NormedWeight(nn.Module):
    """A convolution's weight `[C', C, kernel]` by weight normalisation: for each tap a length and a direction.

    torch.nn.utils.parametrizations has the same, but computes as it is made: see `MertModel.draw_weights`.
    """

    def __init__(self, *shape: int):
        super().__init__()
        self.original0, self.original1 = nn.Parameter(torch.empty(1, 1, shape[2])), nn.Parameter(torch.empty(shape))

    @torch.no_grad()
    def draw(self) -> None:
        """Start at random as a convolution of torch does."""
        nn.init.kaiming_uniform_(self.original1, a=math.sqrt(5))
        self.original0.copy_(self.original1.norm(dim=(0, 1), keepdim=True))

    def forward(self) -> torch.Tensor:
        """The weight."""
        return torch._weight_norm(self.original1, self.original0, 2)


class _NormedConvolution(nn.Module):
    """A grouped convolution over time with as many frames out as in; keys as torch's parametrizations have them."""

    def __init__(self, width: int, kernel: int, groups: int):
        super().__init__()
        self.kernel, self.groups = kernel, groups
        self.bias = nn.Parameter(torch.zeros(width))
        self.parametrizations = nn.ModuleDict({"weight": NormedWeight(width, width // groups, kernel)})

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        weight = self.parametrizations["weight"]()
        found = functional.conv1d(features, weight, self.bias, padding=self.kernel // 2, groups=self.groups)
        # A kernel of even size gives a frame too many.
        return found if self.kernel % 2 else found[..., :-1]


class _PositionalConvolution(nn.Module):
    """Position embedding, added to the frames: a convolution over a second or more, and an activation."""

    def __init__(self, config: MertConfig):
        super().__init__()
        self.conv = _NormedConvolution(
            config.hidden_size, config.num_conv_pos_embeddings, config.num_conv_pos_embedding_groups
        )
        self.activation = ACTIVATIONS[config.feat_extract_activation]

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.activation(self.conv(frames.transpose(1, 2))).transpose(1, 2)


class _Attention(nn.Module):
    """Multi-head self-attention over the frames of a clip."""

    def __init__(self, config: MertConfig):
        super().__init__()
        width = config.hidden_size
        self.heads, self.dropout = config.num_attention_heads, config.attention_dropout
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            projection(frames).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )
        dropout = self.dropout if self.training else 0.0
        seen = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return self.out_proj(seen.transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, config: MertConfig):
        super().__init__()
        self.intermediate_dense = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACTIVATIONS[config.hidden_act]
        self.intermediate_dropout = nn.Dropout(config.activation_dropout)
        self.output_dense = nn.Linear(config.intermediate_size, config.hidden_size)
        self.output_dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        inner = self.intermediate_dropout(self.activation(self.intermediate_dense(frames)))
        return self.output_dropout(self.output_dense(inner))


class _Layer(nn.Module):
    """A transformer layer whose norms stand before its two parts (`do_stable_layer_norm`) or after them."""

    def __init__(self, config: MertConfig):
        super().__init__()
        self.norm_first = config.do_stable_layer_norm
        self.attention = _Attention(config)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layer_norm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.feed_forward = _FeedForward(config)
        self.final_layer_norm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        if self.norm_first:
            frames = frames + self.dropout(self.attention(self.layer_norm(frames)))
            return frames + self.feed_forward(self.final_layer_norm(frames))
        frames = self.layer_norm(frames + self.dropout(self.attention(frames)))
        return self.final_layer_norm(frames + self.feed_forward(frames))


class Encoder(nn.Module):
    """The transformer. With `recompute`, its layers' activations are computed again in the backward pass."""

    def __init__(self, config: MertConfig):
        super().__init__()
        self.norm_first, self.recompute = config.do_stable_layer_norm, False
        self.pos_conv_embed = _PositionalConvolution(config)
        self.layer_norm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.num_hidden_layers))

    def states(self, frames: torch.Tensor) -> Iterator[torch.Tensor]:
        """The layers' input, then each layer's output, `[B, T, H]`, the last one after the final norm."""
        frames = frames + self.pos_conv_embed(frames)
        frames = self.dropout(frames if self.norm_first else self.layer_norm(frames))
        for layer in self.layers:
            yield frames
            frames = recomputed(layer, frames) if self.recompute and self.training else layer(frames)
        yield self.layer_norm(frames) if self.norm_first else frames


def recomputed(function: Callable[..., torch.Tensor], *arguments: torch.Tensor) -> torch.Tensor:
    """A function's result; the backward pass computes it again instead of keeping what lies between."""
    # Reentrant checkpoints would give no gradient where the convolutions are frozen.
    return checkpoint(function, *arguments, use_reentrant=False)
