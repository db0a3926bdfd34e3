"""What a masked frame has to be guessed as: its cluster of log-mel frames, and its constant-Q bins.

Both look at the clip as the model does, normalised, and at its frames: frame t is centred on sample 320 t + 160 of the
published strides. The acoustic teacher is k-means over log-mel frames, the musical one a constant-Q spectrogram (Li et
al., "MERT: Acoustic music understanding model with large-scale self-supervised training", ICLR 2024, section 3; of its
two acoustic teachers the one that needs no other model).
"""

import itertools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from sklearn.cluster import MiniBatchKMeans
from threadpoolctl import threadpool_limits
from torch import nn

from tarkib.errors import TarkibError
from tarkib.models.constant_q import ConstantQ
from tarkib.models.mel_cnn import mel_filterbank
from tarkib.models.mert import MertConfig, normalise
from tarkib.runtime.streams import Stream, generator

_BANDS, _WINDOW, _FMIN, _FMAX = 80, 1024, 40.0, 11_000.0

_BINS, _BINS_PER_OCTAVE, _BINS_FMIN, _GAMMA = 96, 12, 40.0, 100.0
"""Of the musical teacher: eight octaves, as `mert-tiny` hears them too."""

_FRAMES_PER_CLUSTER = 400
_FRAMES_PER_CLIP = 64
_FLOOR = 1e-4


class Teachers(nn.Module):
    """The two teachers of a backbone; `fit` them, or load them with the model that they taught.

    Parameters
    ----------
    config : of the backbone.
    clusters : K, of the acoustic teacher.
    """

    def __init__(self, config: MertConfig, clusters: int):
        super().__init__()
        self.hop = math.prod(config.conv_stride)
        self.constant_q = ConstantQ(config.sample_rate, self.hop, _BINS_FMIN, _BINS, _BINS_PER_OCTAVE)
        filterbank = mel_filterbank(config.sample_rate, _WINDOW, _BANDS, _FMIN, _FMAX)
        self.register_buffer("window", torch.hann_window(_WINDOW), persistent=False)
        self.register_buffer("filterbank", filterbank, persistent=False)
        self.register_buffer("centroids", torch.zeros(clusters, _BANDS))
        self.register_buffer("shares", torch.full((clusters,), 1 / clusters))
        self.register_buffer("bands_mean", torch.zeros(_BANDS))
        self.register_buffer("bands_scale", torch.ones(_BANDS))
        self.register_buffer("bins_mean", torch.zeros(_BINS))
        self.register_buffer("bins_scale", torch.ones(_BINS))
        # Frames d apart share no sample of a bin where d hops are as long as what the bin looks at.
        beyond = torch.ceil(self.constant_q.extents / self.hop).long()
        if not config.feature_extractor_cqt:
            beyond = torch.ones_like(beyond)
        self.register_buffer("hidden_from", beyond, persistent=False)

    @property
    def bins(self) -> int:
        """Number of constant-Q bins."""
        return _BINS

    @torch.no_grad()
    def clusters(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        """Cluster of each frame, int64 `[B, T]`, of normalised samples `[B, n]`."""
        bands = (self.log_mel(samples, frames) - self.bands_mean) / self.bands_scale
        return torch.cdist(bands, self.centroids.expand(len(bands), -1, -1)).argmin(dim=-1)

    @torch.no_grad()
    def spectrum(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        """Constant-Q bins, float32 `[B, T, bins]`, of normalised samples: log(1 + 100 × amplitude), standardised."""
        return (self._bins(samples, frames) - self.bins_mean) / self.bins_scale

    def hidden(self, depth: torch.Tensor) -> torch.Tensor:
        """Which bins of which frames the model cannot read off the frames that it sees, bool `[B, T, bins]`.

        `depth`, int64 `[B, T]`, is 0 for the frames seen and otherwise the distance to the nearest of them. A model
        with a constant-Q branch sees low notes from afar: their windows last up to 0.4 s, so a bin of a visible frame
        tells of the same bin of its masked neighbours. Such a bin counts only where no visible frame's window shares a
        sample with its own. Without the branch all masked frames count whole, as in MERT.
        """
        return depth[..., None] >= self.hidden_from

    def log_mel(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        """Logarithm of the mel bands' power, float32 `[B, T, 80]`; a window of 43 ms around each frame's centre."""
        with torch.autocast(samples.device.type, enabled=False):
            front = _WINDOW // 2 - self.hop // 2
            padded = nn.functional.pad(samples.float(), (front, _WINDOW))
            spectrum = torch.stft(padded, _WINDOW, self.hop, window=self.window, center=False, return_complex=True)
            power = spectrum.real.square() + spectrum.imag.square()
            return torch.log(self.filterbank @ power + _FLOOR)[..., :frames].transpose(1, 2)

    def _bins(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        return torch.log1p(_GAMMA * self.constant_q(samples))[..., :frames].transpose(1, 2)

    @torch.no_grad()
    def fit(self, items: Iterable[dict[str, Any]], seed: int) -> None:
        """Find the clusters, and what to standardise by, on some frames of the first items' `samples`, `[n]` each.

        At most `sample_size` items are read. The same items and seed give the same clusters.
        Raises TarkibError where they hold fewer different frames than there are clusters.
        """
        bands, bins = [], []
        for index, item in enumerate(itertools.islice(items, self.sample_size)):
            samples = normalise(item["samples"][None])
            frames = samples.shape[-1] // self.hop
            chosen = generator(seed, Stream.PRETRAIN_CLUSTERS, index).choice(
                frames, min(frames, _FRAMES_PER_CLIP), replace=False
            )
            bands.append(self.log_mel(samples, frames)[0, chosen])
            bins.append(self._bins(samples, frames)[0, chosen])
        heard, seen = torch.cat(bands), torch.cat(bins)
        self._standardise("bands", heard)
        self._standardise("bins", seen)
        standard = ((heard - self.bands_mean) / self.bands_scale).numpy()
        count = len(self.centroids)
        if len(np.unique(standard, axis=0)) < count:
            raise TarkibError(
                f"pretrain.clusters: the recordings have fewer than {count} different frames in {len(bands)} clips; "
                "lower it or add recordings"
            )
        # Sums over another number of threads round differently.
        with threadpool_limits(1):
            means = MiniBatchKMeans(count, batch_size=4096, n_init=1, max_iter=30, random_state=seed).fit(standard)
        self.centroids.copy_(torch.from_numpy(means.cluster_centers_))
        counts = np.bincount(means.labels_, minlength=count) + 1.0
        self.shares.copy_(torch.from_numpy(counts / counts.sum()))

    @property
    def sample_size(self) -> int:
        """How many clips `fit` reads at most."""
        return -(-len(self.centroids) * _FRAMES_PER_CLUSTER // _FRAMES_PER_CLIP)

    def _standardise(self, name: str, values: torch.Tensor) -> None:
        mean, scale = values.mean(dim=0), values.std(dim=0)
        getattr(self, f"{name}_mean").copy_(mean)
        # What hardly moves must not be blown up: above its recordings' band limit there is rounding only.
        getattr(self, f"{name}_scale").copy_(scale.clamp(min=0.05 * float(scale.max()) + 1e-6))
