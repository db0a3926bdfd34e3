"""The plain baseline: a log-mel spectrogram and a few convolutions over time."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class MelCnnConfig:
    """Shape of the network. Frequencies in Hz, lengths in samples at `sample_rate`."""

    sample_rate: int = 24_000
    window: int = 1024
    hop: int = 320
    bands: int = 80
    fmin: float = 40.0
    fmax: float = 11_000.0
    channels: int = 128
    layers: int = 3
    kernel: int = 5

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON."""
        return dataclasses.asdict(self)


class MelCnn(nn.Module):
    """Log-mel frames through convolutions over time, each halving the frame rate but the first.

    A backbone with a single hidden state, `[B, T, channels]`.
    """

    layer_count = 1

    def __init__(self, config: MelCnnConfig):
        super().__init__()
        self.config = config
        # Computed, so in no checkpoint: they are there also where the rest is still empty.
        with torch.device("cpu"):
            self.register_buffer("window", torch.hann_window(config.window), persistent=False)
            filterbank = mel_filterbank(config.sample_rate, config.window, config.bands, config.fmin, config.fmax)
            self.register_buffer("filterbank", filterbank, persistent=False)
        # Band by band over the training set: the convolutions see levels around zero whatever the recordings' loudness.
        blocks: list[nn.Module] = [nn.BatchNorm1d(config.bands)]
        width = config.bands
        for i in range(config.layers):
            stride = 1 if i == 0 else 2
            blocks += [
                nn.Conv1d(width, config.channels, config.kernel, stride=stride, padding=config.kernel // 2, bias=False),
                nn.BatchNorm1d(config.channels),
                nn.ReLU(),
            ]
            width = config.channels
        self.blocks = nn.Sequential(*blocks)

    @property
    def hidden_size(self) -> int:
        """Channels of the hidden state."""
        return self.config.channels

    def log_mel(self, samples: torch.Tensor) -> torch.Tensor:
        """Log-mel spectrogram `[B, bands, T]` (natural logarithm of the power) of samples `[B, n]`."""
        with torch.no_grad(), torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(
                samples.float(), self.config.window, self.config.hop, window=self.window, return_complex=True
            )
            power = spectrum.real.square() + spectrum.imag.square()
            return torch.log(self.filterbank @ power + 1e-4)

    def all_hidden_states(self, samples: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The one hidden state of normalised samples `[B, n]`."""
        return (self.blocks(self.log_mel(samples)).transpose(1, 2),)


def mel_filterbank(sample_rate: int, window: int, bands: int, fmin: float, fmax: float) -> torch.Tensor:
    """Triangles of height 1, `[bands, window / 2 + 1]`, equally wide on the mel scale 2595 log10(1 + f / 700)."""
    ends = 2595 * torch.log10(1 + torch.tensor([fmin, fmax], dtype=torch.float64) / 700)
    mels = torch.linspace(float(ends[0]), float(ends[1]), bands + 2, dtype=torch.float64)
    corners = 700 * (10 ** (mels / 2595) - 1)
    frequencies = torch.linspace(0, sample_rate / 2, window // 2 + 1, dtype=torch.float64)
    rising = (frequencies - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    falling = (corners[2:, None] - frequencies) / (corners[2:] - corners[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0).float()
