"""MERT, a music model of the HuBERT family, in this project's own code.

With the published v1 configurations MERT's forward pass is HuBERT's (its `attention_relax` is a softmax rewritten for
numerical range, the same function), so `MertModel` is a `HubertModel` with MERT's second input: the constant-Q branch,
whose bins stand beside the convolutional features before the projection (Li et al., "MERT: Acoustic music understanding
model with large-scale self-supervised training", ICLR 2024). The published v1 weights have the branch off.

Conventions
-----------
Input: mono clips at 24,000 Hz, `[B, n]`, all of one length (the convolutions' group norm runs over time, so padding
would change the features; there is no attention mask), each normalised by `normalise`. The convolutions' strides
multiply to 320: 120,000 samples give T = 374 frames, 75 a second. Hidden states: L = layers + 1 tensors `[B, T, H]`,
the first one the input of the first layer, the last one after the encoder's last layer norm.

The weights published as m-a-p/MERT-v1-330M and m-a-p/MERT-v1-95M are, as far as is known, under CC BY-NC 4.0.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import HubertConfig, HubertModel
from transformers.utils.output_capturing import maybe_install_capturing_hooks

from tarkib.errors import TarkibError
from tarkib.models.constant_q import ConstantQ
from tarkib.models.masking import spans

SAMPLE_RATE = 24_000

_SPEC_AUGMENT = 41
"""What the generator of spec augment is for, as the second word of its seed."""


class MertConfig(HubertConfig):
    """HuBERT's configuration with MERT's fields; reads the published `config.json` files.

    Three fields are fixed whatever a file says. `tie_last_hidden_states`: the last hidden state is the encoder's
    output, as in MERT's own code. `layerdrop` 0: a dropped layer has no hidden state, and the layer weights need all.
    `apply_spec_augment` off: `MertModel.enable_spec_augment` turns it on.

    Raises TarkibError for a configuration with DeepNorm, which no published weights use and this code does not have.
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
    # log(1 + gamma * magnitude); MERT's own code feeds the magnitudes as they are.
    feature_extractor_cqt_gamma: float | int = 1.0
    tie_last_hidden_states: bool = True

    def __post_init__(self, **kwargs: Any):
        if self.deepnorm:
            raise TarkibError(
                "config.json: deepnorm is true, which this MERT does not have; use a checkpoint without it "
                "(the published MERT-v1 models have none)"
            )
        self.tie_last_hidden_states = True
        self.layerdrop = 0.0
        self.apply_spec_augment = False
        super().__post_init__(**kwargs)


class _FeatureEncoder(nn.Module):
    """The convolutions, with constant-Q bins as further channels where the configuration asks for them.

    Takes over the convolutions of a HuBERT feature encoder, so that their keys in a checkpoint stay the same.
    """

    def __init__(self, config: MertConfig, convolutions: nn.ModuleList):
        super().__init__()
        self.conv_layers = convolutions
        self.gamma = config.feature_extractor_cqt_gamma
        self.constant_q = None
        if config.feature_extractor_cqt:
            bins = config.feature_extractor_cqt_bins
            # Its kernels are computed and stand in no checkpoint: they are there also where the rest is still empty.
            with torch.device("cpu"):
                self.constant_q = ConstantQ(
                    sample_rate=config.sample_rate,
                    hop=math.prod(config.conv_stride),
                    fmin=config.feature_extractor_cqt_fmin,
                    bins=bins,
                    bins_per_octave=config.feature_extractor_cqt_bins_per_octave or bins // 7,
                )

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Features `[B, channels, T]` of samples `[B, n]`."""
        features = samples[:, None]
        for layer in self.conv_layers:
            features = layer(features)
        if self.constant_q is None:
            return features
        # The last frame may lack samples for the convolutions' context: their count of frames decides.
        bins = torch.log1p(self.gamma * self.constant_q(samples))[..., : features.shape[-1]]
        return torch.cat([features, bins.to(features.dtype)], dim=1)


class MertModel(HubertModel):
    """MERT; `all_hidden_states` is what the classifier uses of it."""

    config_class = MertConfig

    def __init__(self, config: MertConfig):
        super().__init__(config)
        self.feature_extractor = _FeatureEncoder(config, self.feature_extractor.conv_layers)
        if config.feature_extractor_cqt:
            width = config.conv_dim[-1] + config.feature_extractor_cqt_bins
            if config.feat_proj_layer_norm:
                self.feature_projection.layer_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
            self.feature_projection.projection = nn.Linear(width, config.hidden_size)
            self._init_weights(self.feature_projection.projection)

    @property
    def layer_count(self) -> int:
        """L, the number of hidden states."""
        return self.config.num_hidden_layers + 1

    @property
    def hidden_size(self) -> int:
        """H, the width of a hidden state."""
        return self.config.hidden_size

    def all_hidden_states(self, samples: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The L hidden states, each `[B, T, H]`, of normalised samples `[B, n]`."""
        return self(samples, output_hidden_states=True).hidden_states

    def freeze_convolutions(self) -> None:
        """Leave the convolutions out of the training: a third of the activations saved, a tenth of the time."""
        self.feature_extractor.requires_grad_(False)

    def recompute_activations(self) -> None:
        """Keep no activations of the layers but compute them again in the backward pass: less memory, more time.

        The same hidden states and gradients, dropout included.
        """
        # The name that later versions of transformers know, or the earlier one.
        enable = getattr(self, "activation_checkpointing_enable", self.gradient_checkpointing_enable)
        # Reentrant checkpoints would give no gradient where the convolutions are frozen.
        enable({"use_reentrant": False})

    def prepare_for_compile(self) -> None:
        """Make ready for `torch.compile`, before the first step: the whole of it then fits into one graph.

        TarkibError where spec augment is on: its masks are drawn by NumPy, which no graph can hold.
        """
        if self.config.apply_spec_augment:
            raise TarkibError("run.compile: model.spec_augment cannot be compiled; set one of the two to false")
        # The hooks that collect hidden states are otherwise hung in by the first forward pass, unseen by the compiler.
        maybe_install_capturing_hooks(self)

    def enable_spec_augment(self, seed: int) -> None:
        """Mask spans of frames during training (SpecAugment, Park et al. 2019) as the configuration's `mask_*` say.

        Masks are drawn from (seed, how many were drawn before); the count is a buffer, so that a training that is
        continued from a checkpoint draws what the undisturbed one would have drawn.
        """
        if self.config.mask_time_prob == 0 and self.config.mask_feature_prob == 0:
            raise TarkibError(
                "model.spec_augment is true, but the backbone's config.json masks nothing (mask_time_prob and "
                "mask_feature_prob are 0); set it to false"
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
        """Given masks, or spec augment in training; replaces HuBERT's, which draws from NumPy's global generator.

        `mask_time_indices`, bool `[B, T]`, is what pre-training gives: these frames become `masked_spec_embed`.
        """
        if mask_time_indices is not None:
            embedding = self.masked_spec_embed.to(hidden_states.dtype)
            return torch.where(mask_time_indices[..., None], embedding, hidden_states)
        if not (self.training and self.config.apply_spec_augment):
            return hidden_states
        config, (batch, frames, width) = self.config, hidden_states.shape
        seed = [self._spec_augment_seed, _SPEC_AUGMENT, int(self.spec_augment_draws)]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Each process has other clips of the batch, which are to be masked in other places.
            seed.append(torch.distributed.get_rank())
        rng = np.random.default_rng(seed)
        self.spec_augment_draws += 1
        if config.mask_time_prob > 0:
            mask = spans(rng, batch, frames, config.mask_time_prob, config.mask_time_length, config.mask_time_min_masks)
            mask = torch.from_numpy(mask).to(hidden_states.device)[..., None]
            hidden_states = torch.where(mask, self.masked_spec_embed.to(hidden_states.dtype), hidden_states)
        if config.mask_feature_prob > 0:
            mask = spans(
                rng, batch, width, config.mask_feature_prob, config.mask_feature_length, config.mask_feature_min_masks
            )
            mask = torch.from_numpy(mask).to(hidden_states.device)[:, None]
            hidden_states = hidden_states.masked_fill(mask, 0.0)
        return hidden_states


def frame_count(config: MertConfig, samples: int) -> int:
    """T, the number of frames that a MERT makes of so many samples."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        samples = (samples - kernel) // stride + 1
    return samples


def normalise(samples: torch.Tensor) -> torch.Tensor:
    """Clips `[B, n]` with mean 0 and variance 1 each, in float32; silence stays silence.

    As the published preprocessor does it (`do_normalize`): population variance, 1e-7 under the root. Samples are
    floating-point numbers within [-1, 1], or int16, of which -32,768 is -1.
    """
    samples = samples.float() / 32_768 if samples.dtype == torch.int16 else samples.float()
    samples = samples - samples.mean(dim=-1, keepdim=True)
    return samples * torch.rsqrt(samples.square().mean(dim=-1, keepdim=True) + 1e-7)
