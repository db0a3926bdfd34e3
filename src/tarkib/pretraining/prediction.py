"""Masked prediction: a backbone predicts its teachers' targets in the frames that are masked."""

from typing import NamedTuple

import torch
from torch import nn

from tarkib.errors import TarkibError
from tarkib.models.mert import MertModel, normalise
from tarkib.pretraining.teachers import BINS, Teachers

_TEMPERATURE = 0.1


class Scores(NamedTuple):
    """How well each clip's masked frames were predicted, each `[B]`, a mean over the frames that count.

    Attributes
    ----------
    acoustic : cross-entropy of the clusters, in nats.
    accuracy : share of the frames whose cluster was the likeliest.
    musical : squared error of the standardised constant-Q bins; 0 for a clip without bins that count.
    """

    acoustic: torch.Tensor
    accuracy: torch.Tensor
    musical: torch.Tensor


class MaskedPrediction(nn.Module):
    """A backbone with the heads and the teachers of its pre-training.

    The projected features of masked frames are replaced by one learnt embedding. A linear head turns the last hidden
    state into a vector whose cosine similarities to K learnt embeddings, divided by 0.1, are the clusters' logits (Hsu
    et al., "HuBERT", 2021, equations 1 and 3); another head predicts the constant-Q bins (Li et al., "MERT", 2024).

    Raises TarkibError for a backbone without an embedding for masked frames.
    """

    def __init__(self, backbone: MertModel, teachers: Teachers, *, seed: int):
        super().__init__()
        if not hasattr(backbone, "masked_spec_embed"):
            raise TarkibError(
                "pretrain.start: this backbone's config.json masks nothing (mask_time_prob and mask_feature_prob are "
                "0), so it has no embedding for masked frames; choose another"
            )
        self.backbone, self.teachers = backbone, teachers
        width = backbone.hidden_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.acoustic_head = nn.Linear(width, width)
            self.codes = nn.Parameter(torch.randn(len(teachers.centroids), width))
            self.musical_head = nn.Linear(width, BINS)

    def forward(self, samples: torch.Tensor, depth: torch.Tensor) -> Scores:
        """Scores of clips `[B, n]`, any level; `depth`, int64 `[B, T]`, is above 0 in masked frames, at least one."""
        samples, masked = normalise(samples), depth > 0
        hidden = self.backbone(samples, mask_time_indices=masked).last_hidden_state
        frames = hidden.shape[1]
        logits = self.logits(hidden).float()
        clusters = self.teachers.clusters(samples, frames)
        entropy = nn.functional.cross_entropy(logits.transpose(1, 2), clusters, reduction="none")
        correct = (logits.argmax(dim=-1) == clusters).float()
        errors = (self.musical_head(hidden).float() - self.teachers.spectrum(samples, frames)).square()
        unseen = self.teachers.unseen(depth)
        return Scores(_mean(entropy, masked), _mean(correct, masked), _mean(errors.flatten(1), unseen.flatten(1)))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of the clusters, `[B, T, K]`, from the last hidden state `[B, T, H]`."""
        vectors = nn.functional.normalize(self.acoustic_head(hidden), dim=-1)
        return vectors @ nn.functional.normalize(self.codes, dim=-1).T / _TEMPERATURE

    def gradient_checkpointing_enable(self) -> None:
        """See `MertModel.recompute_activations`."""
        self.backbone.recompute_activations()

    def prepare_for_compile(self) -> None:
        """See `MertModel.prepare_for_compile`."""
        self.backbone.prepare_for_compile()


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mean of each row's chosen values, `[B]`; 0 if there are none."""
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)
