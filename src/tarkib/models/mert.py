"""MERT, a music model of the HuBERT family, in this project's own code.

With the published v1 configurations MERT's forward pass is HuBERT's, so `MertModel` is a `HubertModel` with MERT's
second input: constant-Q bins beside the convolutional features (Li et al., "MERT: Acoustic music understanding model
with large-scale self-supervised training", ICLR 2024). The published v1 weights have that branch off.

Input: mono clips at 24,000 Hz, `[B, n]`, each normalised by `normalise`, all of one length: the convolutions' group
norm runs over time, so padding would change the features. T = 374 frames for 120,000 samples, 75 a second. Hidden
states: L = layers + 1 tensors `[B, T, H]`, the encoder's input first, its output after the final layer norm last.
"""

import math
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from transformers import HubertConfig, HubertModel
from transformers.utils.output_capturing import maybe_install_capturing_hooks

from tarkib.errors import TarkibError
from tarkib.models.constant_q import ConstantQ
from tarkib.runtime.streams import Stream, generator

SAMPLE_RATE: Final = 24_000


class MertConfig(HubertConfig):
    """HuBERT's configuration with MERT's fields; reads the published `config.json` files.

    Three fields are fixed whatever a file holds: `tie_last_hidden_states`, as in MERT's own code; `layerdrop` 0, since
    a dropped layer has no hidden state to be weighed; `apply_spec_augment` off until `MertModel.enable_spec_augment`.
    """

    model_type = "mert_model"

    sample_rate: int = SAMPLE_RATE
    attention_relax: float | int = -1.0
    deepnorm: bool = False
    feature_extractor_cqt: bool = False
    feature_extractor_cqt_bins: int = 336
    feature_extractor_cqt_fmin: float | int = 32.7
    # None: the bins fill seven octaves, as in MERT's own code.
    feature_extractor_cqt_bins_per_octave: int | None = None
    # log(1 + gamma * magnitude); MERT's own code takes the magnitudes as they are.
    feature_extractor_cqt_gamma: float | int = 1.0
    tie_last_hidden_states: bool = True

    def __post_init__(self, **kwargs: Any):
        self.tie_last_hidden_states = True
        self.layerdrop = 0.0
        self.apply_spec_augment = False
        super().__post_init__(**kwargs)


class _FeatureEncoder(nn.Module):
    """A HuBERT feature encoder's convolutions, under the same keys, with constant-Q bins as further channels."""

    def __init__(self, config: MertConfig, convolutions: nn.ModuleList):
        super().__init__()
        self.conv_layers = convolutions
        self.gamma = config.feature_extractor_cqt_gamma
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
        """Features `[B, channels, T]` of samples `[B, n]`."""
        features = samples[:, None]
        for layer in self.conv_layers:
            features = layer(features)
        if self.constant_q is None:
            return features
        # The convolutions may have no context for the last constant-Q frame.
        bins = torch.log1p(self.gamma * self.constant_q(samples))[..., : features.shape[-1]]
        return torch.cat([features, bins.to(features.dtype)], dim=1)


class MertModel(HubertModel):
    """MERT with L = `layer_count` hidden states of width H = `hidden_size`; `source` is set by `load_backbone`."""

    config: MertConfig
    source: dict[str, Any]
    spec_augment_draws: torch.Tensor

    def __init__(self, config: MertConfig):
        super().__init__(config)
        self.layer_count, self.hidden_size = config.num_hidden_layers + 1, config.hidden_size
        encoder = _FeatureEncoder(config, self.feature_extractor.conv_layers)
        self.feature_extractor = encoder  # type: ignore[assignment]
        if config.feature_extractor_cqt:
            width = config.conv_dim[-1] + config.feature_extractor_cqt_bins
            if config.feat_proj_layer_norm:
                self.feature_projection.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
            self.feature_projection.projection = nn.Linear(width, config.hidden_size)
            self._init_weights(self.feature_projection.projection)

    def all_hidden_states(self, samples: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The L hidden states, each `[B, T, H]`, of normalised samples `[B, n]`."""
        return self(samples, output_hidden_states=True).hidden_states

    def recompute_activations(self) -> None:
        """Recompute the layers' activations in the backward pass (gradient checkpointing): less memory, more time."""
        # transformers renames the method in version 6.
        enable = getattr(self, "activation_checkpointing_enable", self.gradient_checkpointing_enable)
        # Reentrant checkpoints would give no gradient where the convolutions are frozen.
        enable({"use_reentrant": False})

    def prepare_for_compile(self) -> None:
        """Prepare for `torch.compile` of a whole step; TarkibError if spec augment, which NumPy draws, is on."""
        if self.config.apply_spec_augment:
            raise TarkibError("run.compile: model.spec_augment cannot be compiled; set one of the two to false")
        # Otherwise the first forward pass installs the hooks that collect hidden states, after the compiler has looked.
        maybe_install_capturing_hooks(self)

    def enable_spec_augment(self, seed: int) -> None:
        """Mask spans of frames in training (SpecAugment, Park et al. 2019) by the configuration's `mask_time_*`.

        A mask depends on the seed and the number of earlier draws. That count is a buffer, so a training that resumes
        from a checkpoint draws the same masks as an uninterrupted one.
        """
        if self.config.mask_time_prob == 0:
            raise TarkibError(
                "model.spec_augment is true, but the backbone's config.json masks nothing (mask_time_prob is 0); set "
                "it to false"
            )
        self.config.apply_spec_augment = True
        self._spec_augment_seed = seed
        self.register_buffer("spec_augment_draws", torch.zeros((), dtype=torch.int64))

    def _mask_hidden_states(
        self,
        hidden_states: torch.Tensor,
        mask_time_indices: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Replaces HuBERT's method, which draws from NumPy's global generator.

        Masked frames become `masked_spec_embed`: those of `mask_time_indices`, bool `[B, T]`, which pre-training gives,
        or else, in training, those of spec augment.
        """
        if mask_time_indices is None:
            if not (self.training and self.config.apply_spec_augment):
                return hidden_states
            batch, frames, _ = hidden_states.shape
            index = [int(self.spec_augment_draws)]
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                # Each process has other clips of the batch and needs other masks.
                index.append(torch.distributed.get_rank())
            rng = generator(self._spec_augment_seed, Stream.SPEC_AUGMENT, *index)
            self.spec_augment_draws += 1
            share, length, least = (getattr(self.config, f"mask_time_{key}") for key in ("prob", "length", "min_masks"))
            mask = spans(rng, batch, frames, share, length, least)
            mask_time_indices = torch.from_numpy(mask).to(hidden_states.device)
        embedding = self.masked_spec_embed.to(hidden_states.dtype)
        return torch.where(mask_time_indices[..., None], embedding, hidden_states)


def spans(rng: np.random.Generator, batch: int, size: int, probability: float, length: int, least: int) -> np.ndarray:
    """Masks, bool `[batch, size]`, made of spans of `length` with distinct starts.

    Every row has the same number of spans: probability * size / length rounded at random, at least `least`. Spans may
    overlap, so a smaller share than `probability` is masked.
    """
    length = min(length, size)
    starts = size - length + 1
    count = min(max(int(probability * size / length + rng.random()), least), starts)
    chosen = np.argsort(rng.random((batch, starts)), axis=1)[:, :count]
    mask = np.zeros((batch, size), dtype=bool)
    np.put_along_axis(mask, (chosen[..., None] + np.arange(length)).reshape(batch, -1), True, axis=1)
    return mask


def frame_count(config: MertConfig, samples: int) -> int:
    """T, the number of frames of a clip of `samples` samples."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def normalise(samples: torch.Tensor) -> torch.Tensor:
    """Clips `[B, n]` with mean 0 and variance 1 each, float32; silence stays silence.

    The same as the published preprocessor's `do_normalize`: population variance, 1e-7 under the root. Samples are
    floating-point numbers in [-1, 1] or int16, where -32,768 means -1.
    """
    samples = samples.float() / 32_768 if samples.dtype == torch.int16 else samples.float()
    samples = samples - samples.mean(dim=-1, keepdim=True)
    return samples * torch.rsqrt(samples.square().mean(dim=-1, keepdim=True) + 1e-7)
