"""The constant-Q transform in torch: log-spaced bins whose windows shorten as their frequency rises.

Bin k lies at `fmin * 2**(k / bins_per_octave)` Hz. Its Hann window holds Q cycles, Q = 1 / (2**(1 / bins_per_octave) -
1) (Brown, "Calculation of a constant Q spectral transform", JASA 1991, eq. 1 to 5). A bin's value is the amplitude of
its sinusoid: a full-scale sine at its frequency gives 1.

Frame t covers the samples [t * hop, (t + 1) * hop), its windows are centred there, and the clip is padded with zeros.
A high bin's window is much shorter than a frame: it is evaluated several times per frame and the power averaged, so
that no onset falls between two windows.
"""

import math

import torch
from torch import nn

_HIGHEST = 0.45
"""Highest frequency of an octave, relative to the sampling rate after halvings."""


class ConstantQ(nn.Module):
    """Constant-Q magnitudes of a batch of clips, without parameters and gradients.

    Each octave is analysed at the sampling rate that fits it, halved by truncating the signal's spectrum (an exact band
    limit, no filter to design), so the octaves' kernels stay small.

    Parameters
    ----------
    sample_rate : of the clips, Hz.
    hop : samples between two frames.
    fmin : frequency of the lowest bin, Hz.
    bins : number of bins; ValueError if the highest is at or above 0.45 of the sampling rate.
    bins_per_octave : bins in an octave.

    Attributes
    ----------
    extents : for each bin, the number of samples around its centre that a frame depends on, float64 `[bins]`.
    """

    def __init__(self, sample_rate: int, hop: int, fmin: float, bins: int, bins_per_octave: int):
        super().__init__()
        self.hop = hop
        quality = 1 / (2 ** (1 / bins_per_octave) - 1)
        frequencies = fmin * 2.0 ** (torch.arange(bins, dtype=torch.float64) / bins_per_octave)
        if not 0 < float(frequencies[-1]) < _HIGHEST * sample_rate:
            raise ValueError(
                f"{bins} constant-Q bins from {fmin:g} Hz reach {float(frequencies[-1]):g} Hz, beyond "
                f"{_HIGHEST:g} of the sampling rate ({sample_rate} Hz)"
            )
        # (halvings, windows per frame, samples between them) of each octave, in the order of the bins.
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
            # The windows of the octave's highest bin, the shortest, overlap by at least half.
            while stride > quality * sample_rate / 2**halvings / float(octave[-1]) / 2 and stride % 2 == 0:
                stride, windows = stride // 2, windows * 2
            kernels = _kernels(octave * 2**halvings / sample_rate, quality)
            self.register_buffer(f"kernels_{len(self._octaves)}", kernels, persistent=False)
            self._octaves.append((halvings, windows, stride))
            extents.append(quality * sample_rate / octave + (windows - 1) * stride * 2**halvings)
            self.margin = max(self.margin, len(kernels) * 2**halvings)
        self.extents = torch.cat(extents)
        self._block = math.lcm(hop, 2 ** max(halvings for halvings, _, _ in self._octaves))

    @torch.no_grad()
    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Magnitudes, float32 `[B, bins, T]` with T = ceil(n / hop), of samples `[B, n]`."""
        with torch.autocast(samples.device.type, enabled=False):
            count = -(-samples.shape[-1] // self.hop)
            front = -(-self.margin // self._block) * self._block
            total = _fast_length(front + count * self.hop + self.margin, self._block)
            padded = nn.functional.pad(samples.float(), (front, total - front - samples.shape[-1]))
            # Scaled here alone: amplitudes are then right at any rate.
            spectrum = torch.fft.rfft(padded, norm="forward")
            octaves, rates = [], {0: padded}
            for i, (halvings, windows, stride) in enumerate(self._octaves):
                if halvings not in rates:
                    length = total >> halvings
                    rates[halvings] = torch.fft.irfft(spectrum[:, : length // 2 + 1], n=length, norm="forward")
                kernels = self.get_buffer(f"kernels_{i}")
                first = (front >> halvings) + stride // 2 - len(kernels) // 2
                frames = rates[halvings][:, first:].unfold(-1, len(kernels), stride)[:, : count * windows]
                # Real and imaginary parts of a frame's windows, whose power is averaged over the windows.
                parts = (frames @ kernels).view(samples.shape[0], count, 2 * windows, -1)
                octaves.append((parts.square_().sum(dim=2) / windows).sqrt())
            return torch.cat(octaves, dim=-1).transpose(1, 2)


def _kernels(frequencies: torch.Tensor, quality: float) -> torch.Tensor:
    """Windowed cosines and sines of one octave, `[window, 2 * bins]`, for frequencies in cycles per sample."""
    lengths = quality / frequencies
    size = 2 * math.ceil(float(lengths.max()) / 2)
    time = torch.arange(size, dtype=torch.float64)[:, None] - size // 2
    window = torch.where(time.abs() < lengths / 2, torch.cos(torch.pi * time / lengths).square(), 0.0)
    window = 2 * window / window.sum(dim=0)
    phase = 2 * torch.pi * time * frequencies
    return torch.cat([window * torch.cos(phase), window * torch.sin(phase)], dim=1).float()


def _fast_length(least: int, block: int) -> int:
    """The smallest multiple of `block` from `least` on whose other factors are 2, 3 and 5: the FFT is fast for these.

    scipy.fft.next_fast_len would do it, but recognition does without scipy, which takes long to load.
    """
    multiple = -(-least // block)
    while 30 ** multiple.bit_length() % multiple:
        multiple += 1
    return multiple * block
