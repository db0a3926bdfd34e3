"""The constant-Q transform in torch: log-spaced bins whose windows shorten as their frequency rises.

Conventions
-----------
Bin k stands at `fmin * 2**(k / bins_per_octave)` Hz. Its window (Hann) holds Q cycles of it, Q = 1 / (2**(1 /
bins_per_octave) - 1), the quality factor of neighbouring bins (Brown, "Calculation of a constant Q spectral transform",
JASA 1991, eq. 1 to 5). A bin's value is the amplitude of its sinusoid: a full-scale sine on a bin gives 1.

Frame t covers the samples [t * hop, (t + 1) * hop) and is centred between them; beyond the clip's ends there is
silence. High bins have windows much shorter than a frame, so they are taken several times in a frame and their power is
averaged: an onset between two windows is not lost.
"""

import math

import torch
from torch import nn

_HIGHEST = 0.45
"""Highest frequency, as a share of the sampling rate, that an octave may have after halving the rate."""


class ConstantQ(nn.Module):
    """Constant-Q magnitudes of a batch of clips.

    The octaves share one small bank of kernels: each octave is analysed at the sampling rate that fits it, halved by
    cutting the signal's spectrum (exact band limiting, no filter to design). Without parameters and without gradients.

    Parameters
    ----------
    sample_rate : of the clips, Hz.
    hop : samples between two frames.
    fmin : frequency of the lowest bin, Hz.
    bins : number of bins; the highest must lie below 0.45 of the sampling rate, else ValueError.
    bins_per_octave : bins in an octave.

    Attributes
    ----------
    extents : for each bin, how many samples around its centre a frame looks at, float64 `[bins]`.
    """

    def __init__(self, sample_rate: int, hop: int, fmin: float, bins: int, bins_per_octave: int):
        super().__init__()
        self.sample_rate, self.hop, self.bins = sample_rate, hop, bins
        quality = 1 / (2 ** (1 / bins_per_octave) - 1)
        frequencies = fmin * 2.0 ** (torch.arange(bins, dtype=torch.float64) / bins_per_octave)
        if not 0 < float(frequencies[-1]) < _HIGHEST * sample_rate:
            raise ValueError(
                f"{bins} constant-Q bins from {fmin:g} Hz reach {float(frequencies[-1]):g} Hz, beyond "
                f"{_HIGHEST:g} of the sampling rate ({sample_rate} Hz)"
            )
        # (halvings, windows a frame, samples between them) of each octave, in the order of the bins.
        self._octaves: list[tuple[int, int, int]] = []
        self.margin = 0
        extents = []
        for start in range(0, bins, bins_per_octave):
            octave = frequencies[start : start + bins_per_octave]
            halvings = 0
            while float(octave[-1]) * 2 ** (halvings + 1) < _HIGHEST * sample_rate and hop % 2 ** (halvings + 1) == 0:
                halvings += 1
            stride = hop // 2**halvings
            windows = 1
            # Windows of the octave's highest bin, the shortest, overlap by half at least.
            while stride > quality * sample_rate / 2**halvings / float(octave[-1]) / 2 and stride % 2 == 0:
                stride, windows = stride // 2, windows * 2
            kernels = _kernels(octave * 2**halvings / sample_rate, quality)
            self.register_buffer(f"kernels_{len(self._octaves)}", kernels, persistent=False)
            self._octaves.append((halvings, windows, stride))
            extents.append(quality * sample_rate / octave + (windows - 1) * stride * 2**halvings)
            self.margin = max(self.margin, len(kernels) * 2**halvings)
        self.extents = torch.cat(extents)
        self._most_halvings = max(halvings for halvings, _, _ in self._octaves)

    @torch.no_grad()
    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Magnitudes, float32 `[B, bins, T]` with T = ceil(n / hop), of samples `[B, n]`."""
        with torch.autocast(samples.device.type, enabled=False):
            count = -(-samples.shape[-1] // self.hop)
            block = math.lcm(self.hop, 2**self._most_halvings)
            front = -(-self.margin // block) * block
            total = _fast_length(front + count * self.hop + self.margin, block)
            padded = nn.functional.pad(samples.float(), (front, total - front - samples.shape[-1]))
            spectrum = torch.fft.rfft(padded)
            octaves, rates = [], {0: padded}
            for i, (halvings, windows, stride) in enumerate(self._octaves):
                if halvings not in rates:
                    length = total >> halvings
                    rates[halvings] = torch.fft.irfft(spectrum[:, : length // 2 + 1], n=length) / 2**halvings
                kernels = self.get_buffer(f"kernels_{i}")
                first = (front >> halvings) + stride // 2 - len(kernels) // 2
                frames = rates[halvings][:, first:].unfold(-1, len(kernels), stride)[:, : count * windows]
                parts = (frames @ kernels).view(samples.shape[0], count, windows, 2, -1)
                octaves.append(parts.square().sum(dim=3).mean(dim=2).sqrt())
            return torch.cat(octaves, dim=-1).transpose(1, 2)


def _kernels(frequencies: torch.Tensor, quality: float) -> torch.Tensor:
    """Windowed cosines and sines of one octave, `[window, 2 * bins]`, for frequencies in cycles a sample."""
    lengths = quality / frequencies
    size = 2 * math.ceil(float(lengths.max()) / 2)
    time = torch.arange(size, dtype=torch.float64)[:, None] - size // 2
    window = torch.where(time.abs() < lengths / 2, torch.cos(torch.pi * time / lengths).square(), 0.0)
    window = 2 * window / window.sum(dim=0)
    phase = 2 * torch.pi * time * frequencies
    return torch.cat([window * torch.cos(phase), window * torch.sin(phase)], dim=1).float()


def _fast_length(least: int, block: int) -> int:
    """A multiple of `block`, at least `least`, whose other factors are 2, 3 and 5: the FFT is quick for these."""
    multiple = -(-least // block)
    while True:
        rest = multiple
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return multiple * block
        multiple += 1
