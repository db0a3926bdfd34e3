"""MERT, a music model of the HuBERT family, in torch alone.

With the published v1 configurations MERT's forward pass is HuBERT's; MERT's own is a second input, constant-Q bins
beside the convolutional features (Li et al., "MERT: Acoustic music understanding model with large-scale self-supervised
training", ICLR 2024). The published v1 weights have that branch off.

Input: mono clips at 24,000 Hz, `[B, n]`, each normalised by `normalise`, all of one length: the convolutions' group
norm runs over time, so padding would change the features. T = 374 frames for 120,000 samples, 75 a second. Hidden
states: L = layers + 1 tensors `[B, T, H]`, the encoder's input first, its output after the final layer norm last.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from tarkib.errors import TarkibError
from tarkib.models.mert_config import MertConfig
from tarkib.models.mert_convolutions import FeatureEncoder
from tarkib.models.mert_layers import Encoder, FeatureProjection, NormedWeight
from tarkib.runtime.streams import Stream, generator


class MertModel(nn.Module):
    """MERT with L = `layer_count` hidden states of width H = `hidden_size`; `source` is set by `load_backbone`.

    Keys of its state are those of published checkpoints, but for the names that torch now has for weight normalisation.
    """

    source: dict[str, Any]
    spec_augment_draws: torch.Tensor

    def __init__(self, config: MertConfig):
        super().__init__()
        self.config = config
        self.layer_count, self.hidden_size = config.num_hidden_layers + 1, config.hidden_size
        self.feature_extractor = FeatureEncoder(config)
        self.feature_projection = FeatureProjection(config)
        if config.mask_time_prob > 0 or config.mask_feature_prob > 0:
            self.masked_spec_embed = nn.Parameter(torch.rand(config.hidden_size))
        self.encoder = Encoder(config)
        # Not on the meta device, which is for weights from a file: drawing there would import torch's compiler (3 s).
        if not self.encoder.layer_norm.weight.is_meta:
            self.draw_weights()

    def draw_weights(self) -> None:
        """Start at random, from torch's global generator."""
        for module in self.modules():
            if isinstance(module, NormedWeight):
                module.draw()
            elif isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=self.config.initializer_range)
            if isinstance(module, nn.Conv1d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, samples: torch.Tensor, masked: torch.Tensor | None = None) -> torch.Tensor:
        """The last of `hidden_states`, `[B, T, H]`."""
        for state in self.hidden_states(samples, masked):
            last = state
        return last

    def all_hidden_states(self, samples: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The L hidden states, each `[B, T, H]`, of normalised samples `[B, n]`."""
        return tuple(self.hidden_states(samples))

    def hidden_states(self, samples: torch.Tensor, masked: torch.Tensor | None = None) -> Iterator[torch.Tensor]:
        """Yield the hidden states of `all_hidden_states` one by one, so that the caller need not keep all in memory.

        Frames in `masked`, bool `[B, T]`, are replaced by `masked_spec_embed`. Without `masked`, SpecAugment draws a
        mask in training, if it is enabled.
        """
        frames = self.feature_projection(self.feature_extractor(samples))
        if masked is None and self.training and self.config.apply_spec_augment:
            masked = self._spec_augment(*frames.shape[:2]).to(frames.device)
        if masked is not None:
            frames = torch.where(masked[..., None], self.masked_spec_embed.to(frames.dtype), frames)
        yield from self.encoder.states(frames)

    def recompute_activations(self) -> None:
        """Recompute the layers' activations in the backward pass (gradient checkpointing): less memory, more time."""
        self.encoder.recompute = self.feature_extractor.recompute = True

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

    def _spec_augment(self, batch: int, frames: int) -> torch.Tensor:
        """The next mask, bool `[B, T]`."""
        index = [int(self.spec_augment_draws)]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # Each process has other clips of the batch and needs other masks.
            index.append(torch.distributed.get_rank())
        rng = generator(self._spec_augment_seed, Stream.SPEC_AUGMENT, *index)
        self.spec_augment_draws += 1
        share, length, least = (getattr(self.config, f"mask_time_{key}") for key in ("prob", "length", "min_masks"))
        return torch.from_numpy(mask_spans(rng, batch, frames, share, length, least))


def mask_spans(rng: np.random.Generator, batch: int, size: int, share: float, length: int, least: int) -> np.ndarray:
    """Masks, bool `[batch, size]`, of spans of `length` frames with distinct starts.

    All rows have the same number of spans: share * size / length, randomly rounded, but at least `least`. Since spans
    may overlap, a smaller share is masked.
    """
    length = min(length, size)
    starts = size - length + 1
    count = min(max(int(share * size / length + rng.random()), least), starts)
    chosen = np.argsort(rng.random((batch, starts)), axis=1)[:, :count]
    mask = np.zeros((batch, size), dtype=bool)
    np.put_along_axis(mask, (chosen[..., None] + np.arange(length)).reshape(batch, -1), True, axis=1)
    return mask


def normalise(samples: torch.Tensor) -> torch.Tensor:
    """Clips `[B, n]` with mean 0 and variance 1 each, float32; silence stays silence.

    The same as the published preprocessor's `do_normalize`: population variance, 1e-7 under the root. Samples are
    floating-point numbers in [-1, 1] or int16, where -32,768 means -1.
    """
    samples = samples.float() / 32_768 if samples.dtype == torch.int16 else samples.float()
    samples = samples - samples.mean(dim=-1, keepdim=True)
    return samples * torch.rsqrt(samples.square().mean(dim=-1, keepdim=True) + 1e-7)
