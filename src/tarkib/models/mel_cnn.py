"""The baseline: a log-mel spectrogram and a few convolutions over time."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn

from tarkib.models.files import StrictModel


class MelCnnConfig(StrictModel):
    """Shape of the network. Frequencies in Hz, lengths in samples at `sample_rate`."""

    sample_rate: Literal[24_000] = 24_000
    window: Annotated[int, Field(ge=64, le=8192)] = 1024
    hop: Annotated[int, Field(ge=80, le=2400)] = 320
    bands: Annotated[int, Field(ge=1, le=512)] = 80
    fmin: Annotated[float, Field(ge=0, le=11_999)] = 40.0
    fmax: Annotated[float, Field(ge=1, le=12_000)] = 11_000.0
    channels: Annotated[int, Field(ge=1, le=4096)] = 128
    layers: Annotated[int, Field(ge=1, le=12)] = 3
    kernel: Annotated[int, Field(ge=1, le=101)] = 5

    to_dict = StrictModel.model_dump


class MelCnn(nn.Module):
    """Log-mel frames through convolutions over time; each but the first halves the frame rate.

    A backbone with a single hidden state, `[B, T, channels]`.
    """

    kind: Literal["mel-cnn"] = "mel-cnn"
    layer_count = 1
    source: dict[str, Any]

    def __init__(self, config: MelCnnConfig):
        super().__init__()
        self.config = config
        self.hidden_size = config.channels
        self.log_mel = LogMel(config.window, config.hop, config.bands, config.fmin, config.fmax)
        # Normalises each band over the training set, whatever the level of the recordings.
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

    def all_hidden_states(self, samples: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The hidden state of normalised samples `[B, n]`, as a tuple of one."""
        return (self.blocks(self.log_mel(samples)).transpose(1, 2),)


class LogMel(nn.Module):
    """Natural logarithm of the power in mel bands of sound at 24,000 Hz.

    The bands are triangles of height 1, equally wide on the mel scale 2595 log10(1 + f / 700).

    Parameters
    ----------
    window, hop : of the spectrogram, in samples.
    bands : number of bands, from `fmin` to `fmax` Hz.
    center : whether frame t is centred on sample t * hop of the reflected signal, else it begins there.
    """

    window: torch.Tensor
    filterbank: torch.Tensor

    def __init__(self, window: int, hop: int, bands: int, fmin: float, fmax: float, *, center: bool = True):
        super().__init__()
        self.hop, self.center = hop, center
        # Computed and in no checkpoint, so both need values also in a model on the meta device.
        with torch.device("cpu"):
            self.register_buffer("window", torch.hann_window(window), persistent=False)
            ends = 2595 * torch.log10(1 + torch.tensor([fmin, fmax], dtype=torch.float64) / 700)
            mels = torch.linspace(float(ends[0]), float(ends[1]), bands + 2, dtype=torch.float64)
            corners = 700 * (10 ** (mels / 2595) - 1)
            frequencies = torch.linspace(0, 12_000, window // 2 + 1, dtype=torch.float64)
            rising = (frequencies - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
            falling = (corners[2:, None] - frequencies) / (corners[2:] - corners[1:-1])[:, None]
            filterbank = torch.minimum(rising, falling).clamp(min=0).float()
            self.register_buffer("filterbank", filterbank, persistent=False)

    @torch.no_grad()
    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Log-mel spectrogram, float32 `[B, bands, T]`, of samples `[B, n]`."""
        return torch.log(self.power(samples) + 1e-4)

    @torch.no_grad()
    def power(self, samples: torch.Tensor) -> torch.Tensor:
        """Power in the bands, float32 `[B, bands, T]`, of samples `[B, n]`; of float64 the spectrum is computed so."""
        with torch.autocast(samples.device.type, enabled=False):
            samples = samples if samples.dtype == torch.float64 else samples.float()
            length, window = len(self.window), self.window.to(samples.dtype)
            spectrum = torch.stft(samples, length, self.hop, window=window, center=self.center, return_complex=True)
            return self.filterbank @ (spectrum.real.square() + spectrum.imag.square()).float()
