"""Masked prediction: a backbone predicts its teachers' targets in the frames that are masked.

The acoustic teacher is k-means over log-mel frames, the musical one a constant-Q spectrogram (Li et al., "MERT", ICLR
2024, section 3). Both take the normalised clip in the model's frames: frame t is centred on sample 320 t + 160.
"""

import itertools
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits
from torch import nn

from tarkib.errors import TarkibError
from tarkib.models.constant_q import ConstantQ
from tarkib.models.mel_cnn import LogMel
from tarkib.models.mert import MertModel, normalise
from tarkib.models.mert_config import MertConfig
from tarkib.runtime.streams import Stream, generator

BINS = 96
"""Constant-Q bins of the musical teacher: eight octaves from 40 Hz, a bin per semitone, as in `mert-tiny`."""

_BANDS, _WINDOW = 80, 1024
_GAMMA = 100.0
_FRAMES_PER_CLUSTER = 400
_FRAMES_PER_CLIP = 64
_TEMPERATURE = 0.1


class Teachers(nn.Module):
    """The two teachers of a backbone with this configuration: call `fit`, or load a state.

    Attributes
    ----------
    centroids : of the K clusters, `[K, 80]`.
    shares : of the K clusters in the frames that `fit` used, `[K]`.
    sample_size : how many clips `fit` reads at most.
    """

    centroids: torch.Tensor
    shares: torch.Tensor
    bands_mean: torch.Tensor
    bands_scale: torch.Tensor
    bins_mean: torch.Tensor
    bins_scale: torch.Tensor
    unseen_from: torch.Tensor

    def __init__(self, config: MertConfig, clusters: int):
        super().__init__()
        self.hop = math.prod(config.conv_stride)
        self.sample_size = -(-clusters * _FRAMES_PER_CLUSTER // _FRAMES_PER_CLIP)
        self.constant_q = ConstantQ(config.sample_rate, self.hop, 40.0, BINS, 12)
        self.mel = LogMel(_WINDOW, self.hop, _BANDS, 40.0, 11_000.0, center=False)
        self.register_buffer("centroids", torch.zeros(clusters, _BANDS))
        self.register_buffer("shares", torch.full((clusters,), 1 / clusters))
        for name, width in (("bands", _BANDS), ("bins", BINS)):
            self.register_buffer(f"{name}_mean", torch.zeros(width))
            self.register_buffer(f"{name}_scale", torch.ones(width))
        # Two frames d hops apart share no sample of a bin if d hops are at least the bin's extent.
        beyond = torch.ceil(self.constant_q.extents / self.hop).long()
        self.register_buffer(
            "unseen_from", beyond if config.feature_extractor_cqt else torch.ones_like(beyond), persistent=False
        )

    @torch.no_grad()
    def clusters(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        """Cluster of each frame, int64 `[B, T]`, of normalised samples `[B, n]`."""
        bands = (self.log_mel(samples, frames) - self.bands_mean) / self.bands_scale
        return torch.cdist(bands, self.centroids.expand(len(bands), -1, -1)).argmin(dim=-1)

    @torch.no_grad()
    def spectrum(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        """Constant-Q bins, float32 `[B, T, bins]`, of normalised samples: log(1 + 100 × amplitude), standardised."""
        return (self._bins(samples, frames) - self.bins_mean) / self.bins_scale

    def unseen(self, distance: torch.Tensor) -> torch.Tensor:
        """Which bins of which frames the model has to predict, bool `[B, T, bins]`.

        `distance`, int64 `[B, T]`, is each frame's distance to the nearest visible one. If the model has a constant-Q
        branch, a visible frame's window of a low note, up to 0.4 s long, reaches into masked frames. So a bin counts
        only if its window shares no sample with that of a visible frame. Without the branch all masked frames count.
        """
        return distance[..., None] >= self.unseen_from

    def log_mel(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        """Logarithm of the mel bands' power, float32 `[B, T, 80]`; a window of 43 ms around each frame's centre."""
        padded = nn.functional.pad(samples.float(), (_WINDOW // 2 - self.hop // 2, _WINDOW))
        return self.mel(padded)[..., :frames].transpose(1, 2)

    def _bins(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        return torch.log1p(_GAMMA * self.constant_q(samples))[..., :frames].transpose(1, 2)

    @torch.no_grad()
    def fit(self, items: Iterable[dict[str, Any]], seed: int) -> None:
        """Fit clusters and standardisation to frames of the first items' `samples`; TarkibError if they are too few."""
        bands, bins = [], []
        for index, item in enumerate(itertools.islice(items, self.sample_size)):
            samples = normalise(item["samples"][None])
            frames = samples.shape[-1] // self.hop
            rng = generator(seed, Stream.PRETRAIN_CLUSTERS, index)
            chosen = rng.choice(frames, min(frames, _FRAMES_PER_CLIP), replace=False)
            bands.append(self.log_mel(samples, frames)[0, chosen])
            bins.append(self._bins(samples, frames)[0, chosen])
        for name, values in (("bands", torch.cat(bands)), ("bins", torch.cat(bins))):
            scale = values.std(dim=0)
            self.get_buffer(f"{name}_mean").copy_(values.mean(dim=0))
            # Above the recordings' band limit there is only rounding, which must not be amplified.
            self.get_buffer(f"{name}_scale").copy_(scale.clamp(min=0.05 * float(scale.max()) + 1e-6))
        standardised = ((torch.cat(bands) - self.bands_mean) / self.bands_scale).numpy()
        count = len(self.centroids)
        if len(np.unique(standardised, axis=0)) < count:
            raise TarkibError(
                f"pretrain.clusters: the recordings have fewer than {count} different frames in {len(bands)} clips; "
                "lower it or add recordings"
            )
        # Another number of threads would round sums differently.
        with threadpool_limits(1):
            means = MiniBatchKMeans(count, batch_size=4096, n_init=1, max_iter=30, random_state=seed).fit(standardised)
        self.centroids.copy_(torch.from_numpy(means.cluster_centers_))
        counts = np.bincount(means.labels_, minlength=count) + 1.0
        self.shares.copy_(torch.from_numpy(counts / counts.sum()))


class Scores(NamedTuple):
    """Each clip's mean over the masked frames, `[B]`.

    Cross-entropy of the clusters in nats, share of the frames whose cluster was the likeliest, and squared error of the
    standardised constant-Q bins that count.
    """

    acoustic: torch.Tensor
    accuracy: torch.Tensor
    musical: torch.Tensor


class MaskedPrediction(nn.Module):
    """A backbone with the heads and the teachers of its pre-training.

    The projected features of masked frames are replaced by one learnt embedding. A linear head turns the last hidden
    state into a vector whose cosine similarities to K learnt embeddings, divided by 0.1, are the clusters' logits (Hsu
    et al., "HuBERT", 2021, equations 1 and 3); another head predicts the constant-Q bins.
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

    def forward(self, samples: torch.Tensor, distance: torch.Tensor) -> Scores:
        """Scores of clips `[B, n]`, any level; `distance`, int64 `[B, T]`, is above 0 in at least one frame."""
        samples, masked = normalise(samples), distance > 0
        hidden = self.backbone(samples, masked)
        frames = hidden.shape[1]
        logits = self.logits(hidden).float()
        clusters = self.teachers.clusters(samples, frames)
        entropy = nn.functional.cross_entropy(logits.transpose(1, 2), clusters, reduction="none")
        correct = (logits.argmax(dim=-1) == clusters).float()
        errors = (self.musical_head(hidden).float() - self.teachers.spectrum(samples, frames)).square()
        unseen = self.teachers.unseen(distance)
        return Scores(_mean(entropy, masked), _mean(correct, masked), _mean(errors.flatten(1), unseen.flatten(1)))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits of the clusters, `[B, T, K]`, from the last hidden state `[B, T, H]`."""
        vectors = nn.functional.normalize(self.acoustic_head(hidden), dim=-1)
        return vectors @ nn.functional.normalize(self.codes, dim=-1).T / _TEMPERATURE

    def gradient_checkpointing_enable(self) -> None:
        """See `MertModel.recompute_activations`."""
        self.backbone.recompute_activations()


def _mean(values: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """Mean of each row's chosen values, `[B]`; 0 if there are none."""
    return (values * chosen).sum(dim=1) / chosen.sum(dim=1).clamp(min=1)
