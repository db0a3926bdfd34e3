"""`musicnn` (Pons & Serra 2019), a network of 0.8 million parameters that was trained to tag MagnaTagATune, in torch.

Only the weights come from the package `musicnn` (ISC licence), whose own code needs TensorFlow. A clip goes through it
in windows of three seconds, as those that it was trained on; the backbone's hidden state is the last layer before the
tags, a vector a window.
"""

from collections import Counter
from importlib.util import find_spec
from typing import Any, Literal

import torch
from torch import nn

from tarkib.errors import TarkibError
from tarkib.models import tensor_bundle
from tarkib.models.files import StrictModel, load_weights
from tarkib.runtime.project import GET_MUSICNN

CHECKSUMS = (
    "da2d7bb670b2b31e9bc441bb1bd75eca31b5b061f963cc1f9630c1aff3238f57",
    "041f3935e981a65cea739842d30c188d3a7d2adf4410955c8668eb3de4a5acab",
)
"""SHA-256 of the index and of the data of the weights in musicnn 0.1.0."""

LICENCE = "ISC; they were trained on MagnaTagATune, whose recordings are under CC BY-NC-SA 3.0"
"""Of the published weights."""

NOTICE = """\
Copyright (c) Music Technology Group, Universitat Pompeu Fabra 2019. Code developed by Jordi Pons (www.jordipons.me).

Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted,
provided that the above copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT,
INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN
ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF
THIS SOFTWARE."""
"""What must go with copies of the published weights."""

LEVEL = 0.1
"""RMS to which normalised clips (RMS 1) are scaled: that of published music, on which the network was trained."""

_BANDS, _HIGHEST_HZ = 96, 8_000.0
_WINDOW, _HOP = 768, 384
"""Of the spectrogram, in samples at 24,000 Hz: 32 and 16 ms."""

_FRAMES, _STRIDE = 187, 126
"""Length and hop of the windows, in frames: two windows are exactly the 313 frames of five seconds."""

_CPU_BATCH = 2
"""Windows per batch on a CPU: larger batches do not fit into its caches and take twice as long per window."""

_KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "conv2d": (nn.Conv1d, nn.Conv2d),
    "batch_normalization": (nn.BatchNorm1d, nn.BatchNorm2d),
    "dense": (nn.Linear,),
}
_LAYER_NAMES = {"weight": "kernel", "bias": "bias"}
_NORM_NAMES = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}

_OTHER_BACKBONE = "choose another backbone (dvc exp run -S model.backbone=mert-tiny -S model.finetune=full)"
_REMEDY = f"install it again ({GET_MUSICNN} --force-reinstall), or {_OTHER_BACKBONE}"


class MusicnnConfig(StrictModel):
    """The network has one shape."""

    sample_rate: Literal[24_000] = 24_000

    to_dict = StrictModel.model_dump


class Musicnn(nn.Module):
    """Log-mel frames, timbral (tall) and temporal (long) filters, three convolutions, and pooling over time.

    A backbone with a single hidden state, `[B, windows, 200]`. Clips shorter than a window are one window.
    """

    kind: Literal["musicnn"] = "musicnn"
    layer_count, hidden_size = 1, 200
    source: dict[str, Any]
    filterbank: torch.Tensor
    window: torch.Tensor

    def __init__(self, config: MusicnnConfig):
        super().__init__()
        self.config = config
        self.register_buffer("filterbank", torch.zeros(_BANDS, _bins()))
        # In no checkpoint, so it needs values also in a model on the meta device.
        with torch.device("cpu"):
            self.register_buffer("window", torch.hann_window(_WINDOW), persistent=False)
        self.norm = _norm(nn.BatchNorm2d, 1)
        timbral = [(204, 7, 38), (204, 7, 67)]
        temporal = [(51, length, 1) for length in (128, 64, 32)]
        self.front = nn.ModuleList(_filters(*shape) for shape in timbral + temporal)
        self.middle = nn.ModuleList(
            nn.Sequential(nn.Conv1d(width, 64, 7, padding=3), nn.ReLU(inplace=True), _norm(nn.BatchNorm1d, 64))
            for width in (561, 64, 64)
        )
        width = 2 * (561 + 3 * 64)
        self.back = nn.Sequential(
            _norm(nn.BatchNorm1d, width),
            nn.Dropout(0.5),
            nn.Linear(width, self.hidden_size),
            nn.ReLU(),
            _norm(nn.BatchNorm1d, self.hidden_size),
        )

    def all_hidden_states(self, samples: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The hidden state of normalised samples `[B, n]`, as a tuple of one."""
        frames = self.log_mel(LEVEL * samples)
        windows = frames.unfold(1, min(_FRAMES, frames.shape[1]), _STRIDE).transpose(2, 3)
        several = windows.flatten(0, 1)
        if several.device.type == "cpu" and not self.training and not torch.compiler.is_exporting():
            states = torch.cat([self.penultimate(some) for some in several.split(_CPU_BATCH)])
        else:
            states = self.penultimate(several)
        return (states.unflatten(0, windows.shape[:2]),)

    @torch.no_grad()
    def log_mel(self, samples: torch.Tensor) -> torch.Tensor:
        """Log-mel frames, float32 `[B, T, 96]`, of samples `[B, n]` at their own level.

        The network was trained on sound at 16,000 Hz, with 512 samples to a spectrum. At 24,000 Hz the same spectrum,
        up to 8,000 Hz, comes from 768 samples, with 1.5 times its amplitude, and nothing need be resampled.
        """
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = torch.stft(samples.float() / 1.5, _WINDOW, _HOP, window=self.window, return_complex=True)
            power = spectrum.real.square() + spectrum.imag.square()
            return torch.log10(10_000 * (self.filterbank @ power[:, : _bins()]) + 1).transpose(1, 2)

    def penultimate(self, frames: torch.Tensor) -> torch.Tensor:
        """The last layer before the tags, `[B, 200]`, of log-mel frames `[B, T, 96]`."""
        frames = self.norm(frames[:, None])
        features = [torch.cat([block(frames).amax(dim=3) for block in self.front], dim=1)]
        for block in self.middle:
            new = block(features[-1])
            features.append(new if len(features) == 1 else features[-1] + new)
        pooled = torch.cat(features, dim=1)
        return self.back(torch.stack([pooled.amax(dim=2), pooled.mean(dim=2)], dim=2).flatten(1))


def load_musicnn() -> Musicnn:
    """The network with the weights of the package `musicnn`, float32, on the CPU; no random number is drawn.

    Raises TarkibError if the package is missing or its files are damaged.
    """
    tensors, state = published_tensors(), {"filterbank": _filterbank()}
    with torch.device("meta"):
        network = Musicnn(MusicnnConfig())
    counts: Counter[str] = Counter()
    for name, layer in network.named_modules():
        kind = next((kind for kind, classes in _KINDS.items() if isinstance(layer, classes)), None)
        if kind is None:
            continue
        # TensorFlow numbers the layers of a kind in the order of their creation, which is the order here.
        stem = f"{kind}_{counts[kind]}" if counts[kind] else kind
        counts[kind] += 1
        for ours, theirs in _NORM_NAMES.items() if kind == "batch_normalization" else _LAYER_NAMES.items():
            tensor = tensors[f"{stem}/{theirs}"]
            state[f"{name}.{ours}"] = _transposed(tensor, layer) if theirs == "kernel" else tensor
        if kind == "batch_normalization":
            state[f"{name}.num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    load_weights(network, state, "the package musicnn")
    return network


def _transposed(kernel: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    """A kernel of TensorFlow, `[in, out]` or `[time, frequency, in, out]`, in the order that the layer's weight has."""
    if isinstance(layer, nn.Linear):
        return kernel.T
    if isinstance(layer, nn.Conv2d):
        return kernel.permute(3, 2, 0, 1)
    # The filter spans all features of a frame, which TensorFlow has as frequencies.
    return kernel[:, :, 0].permute(2, 1, 0)


def published_tensors() -> dict[str, torch.Tensor]:
    """Tensors by name in the package `musicnn`; TarkibError if it is missing or its files are damaged."""
    package = find_spec("musicnn")  # imports nothing: the package itself would import TensorFlow
    if package is None or not package.submodule_search_locations:
        raise TarkibError(
            f"model.backbone: the weights of musicnn are not installed; install them ({GET_MUSICNN}, as `make` does), "
            f"or {_OTHER_BACKBONE}"
        )
    prefix = f"{package.submodule_search_locations[0]}/MTT_musicnn/"
    tensors = tensor_bundle.read(prefix, CHECKSUMS, _REMEDY)
    return {name: torch.tensor(array) for name, array in tensors.items()}


def _bins() -> int:
    """Frequencies of a spectrum from 0 to 8,000 Hz."""
    return round(_HIGHEST_HZ * _WINDOW / 24_000) + 1


def _filterbank() -> torch.Tensor:
    """The mel filterbank `[96, 257]` of librosa's defaults: Slaney's scale, triangles of equal area."""
    from torchaudio.functional import melscale_fbanks

    return melscale_fbanks(_bins(), 0.0, _HIGHEST_HZ, _BANDS, 16_000, norm="slaney", mel_scale="slaney").T


def _filters(count: int, length: int, height: int) -> nn.Sequential:
    """Filters over `length` frames and `height` bands, as many frames out as in."""
    return nn.Sequential(
        # Frames of zeros before and after, as many as TensorFlow's "same" padding has.
        nn.ZeroPad2d((0, 0, (length - 1) // 2, length // 2)),
        nn.Conv2d(1, count, (length, height)),
        nn.ReLU(inplace=True),
        _norm(nn.BatchNorm2d, count),
    )


def _norm(kind: type[nn.BatchNorm1d] | type[nn.BatchNorm2d], width: int) -> Any:
    """A batch norm with TensorFlow's defaults."""
    return kind(width, eps=1e-3, momentum=0.01)
