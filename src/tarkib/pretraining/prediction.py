"""Masked prediction: a backbone, some of whose frames are hidden, guesses what its teachers hear there."""

from typing import NamedTuple

import torch
from torch import nn

from tarkib.errors import TarkibError
from tarkib.models.mert import MertModel, normalise
from tarkib.pretraining.teachers import Teachers

_TEMPERATURE = 0.1


class Guess(NamedTuple):
    """How well each clip's masked frames were guessed, each `[B]`, a mean over what was hidden in the clip.

    Attributes
    ----------
    acoustic : cross-entropy of the clusters, in nats.
    accuracy : share of the frames whose cluster was the likeliest.
    musical : squared error of the standardised constant-Q bins; 0 for a clip in which none was hidden.
    """

    acoustic: torch.Tensor
    accuracy: torch.Tensor
    musical: torch.Tensor


class MaskedPrediction(nn.Module):
    """A backbone with the heads and the teachers of its pre-training.

    The projected features of masked frames are replaced by one learnt embedding. Of the last hidden state a linear
    head makes a vector, whose cosine similarities to the learnt embeddings of the K clusters, divided by 0.1, are the
    logits (Hsu et al., "HuBERT: Self-supervised speech representation learning by masked prediction of hidden units",
    2021, equations 1 and 3); another head makes the constant-Q bins (Li et al., "MERT", 2024). Only what is masked
    counts.

    Parameters
    ----------
    backbone : a MERT with an embedding for masked frames.
    teachers : fitted.
    seed : of the heads' random start.

    Raises TarkibError for a backbone without that embedding.
    """

    def __init__(self, backbone: MertModel, teachers: Teachers, *, seed: int):
        super().__init__()
        if not hasattr(backbone, "masked_spec_embed"):
            raise TarkibError(
                "pretrain.start: this backbone's config.json masks nothing (mask_time_prob and mask_feature_prob are "
                "0), so it has no embedding for masked frames; choose another"
            )
        self.backbone, self.teachers = backbone, teachers
        width, clusters = backbone.hidden_size, len(teachers.centroids)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.acoustic_head = nn.Linear(width, width)
            self.codes = nn.Parameter(torch.randn(clusters, width))
            self.musical_head = nn.Linear(width, teachers.bins)

    def forward(self, samples: torch.Tensor, depth: torch.Tensor) -> Guess:
        """Guess the masked frames of clips `[B, n]`, any level; `depth`, int64 `[B, T]`, says which these are.

        At least one frame of each clip must be masked.
        """
        samples = normalise(samples)
        hidden = self.backbone(samples, mask_time_indices=depth > 0).last_hidden_state
        frames = hidden.shape[1]
        logits = self.logits(hidden).float()
        clusters = self.teachers.clusters(samples, frames)
        entropy = nn.functional.cross_entropy(logits.transpose(1, 2), clusters, reduction="none")
        right = (logits.argmax(dim=-1) == clusters).float()
        errors = (self.musical_head(hidden).float() - self.teachers.spectrum(samples, frames)).square()
        masked = depth > 0
        return Guess(
            _mean(entropy, masked),
            _mean(right, masked),
            _mean(errors.flatten(1), self.teachers.hidden(depth).flatten(1)),
        )

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of the clusters, `[B, T, K]`, of the last hidden state `[B, T, H]`."""
        vectors = nn.functional.normalize(self.acoustic_head(hidden), dim=-1)
        return vectors @ nn.functional.normalize(self.codes, dim=-1).T / _TEMPERATURE

    def gradient_checkpointing_enable(self) -> None:
        """Compute the backbone's activations twice, as `MertModel.recompute_activations` says."""
        self.backbone.recompute_activations()

    def prepare_for_compile(self) -> None:
        """Make ready for `torch.compile`, as `MertModel.prepare_for_compile` says."""
        self.backbone.prepare_for_compile()


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mean of each row's chosen values, `[B]`; 0 where none is."""
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)
