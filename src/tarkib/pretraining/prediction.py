"""Masked prediction: a backbone, some of whose frames are hidden, guesses what its teachers hear there."""

from dataclasses import dataclass

import torch
from torch import nn

from tarkib.errors import TarkibError
from tarkib.models.mert import MertModel, normalise
from tarkib.pretraining.teachers import Teachers

_TEMPERATURE = 0.1


@dataclass(frozen=True)
class Guess:
    """How well masked frames were guessed, summed over a batch's clips, each `[B]`.

    Attributes
    ----------
    acoustic : cross-entropy, in nats, of the clusters.
    right : number of frames whose cluster was the likeliest.
    frames : number of masked frames.
    musical : squared errors of the standardised constant-Q bins, averaged over each clip's hidden bins, times `bins`.
    bins : number of hidden bins.
    """

    acoustic: torch.Tensor
    right: torch.Tensor
    frames: torch.Tensor
    musical: torch.Tensor
    bins: torch.Tensor


class MaskedPrediction(nn.Module):
    """A backbone with the heads and the teachers of its pre-training.

    The projected features of masked frames are replaced by one learnt embedding; of the last hidden state a linear
    head makes a vector, whose cosine similarities to the learnt embeddings of the K clusters, divided by 0.1, are the
    logits (Hsu et al., "HuBERT", 2021, equations 3 to 5); another head makes the constant-Q bins.

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
        """Guess the masked frames of clips `[B, n]`, any level; `depth`, int64 `[B, T]`, says which these are."""
        samples = normalise(samples)
        masked = depth > 0
        hidden = self.backbone(samples, mask_time_indices=masked).last_hidden_state
        frames = hidden.shape[1]
        logits = self.logits(hidden).float()
        clusters = self.teachers.clusters(samples, frames)
        entropy = nn.functional.cross_entropy(logits.transpose(1, 2), clusters, reduction="none")
        right = logits.argmax(dim=-1) == clusters
        errors = (self.musical_head(hidden).float() - self.teachers.spectrum(samples, frames)).square()
        unseen = self.teachers.hidden(depth)
        return Guess(
            acoustic=(entropy * masked).sum(dim=1),
            right=(right & masked).sum(dim=1),
            frames=masked.sum(dim=1),
            musical=(errors * unseen).sum(dim=(1, 2)),
            bins=unseen.sum(dim=(1, 2)),
        )

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of the clusters, `[B, T, K]`, of the last hidden state `[B, T, H]`."""
        vectors = nn.functional.normalize(self.acoustic_head(hidden), dim=-1)
        return vectors @ nn.functional.normalize(self.codes, dim=-1).T / _TEMPERATURE
