"""MuQ (Zhu et al. 2025, "Self-Supervised Music Representation Learning with Mel Residual Vector Quantization").

The network of the package `muq` without its parts for pre-training, in torch, under the same keys: the package needs
another transformers than this project, and EasyDict, which is under the LGPL. Input: mono clips at 24,000 Hz, `[B, n]`,
normalised, all of one length. Hidden states: L = layers + 1 tensors `[B, T, H]`, 25 frames a second (T = 125 for
120,000 samples), the conformer's input first, its output after the final layer norm last.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import nn
from torch.nn.functional import glu, relu, scaled_dot_product_attention, silu

from tarkib.models.files import StrictModel, find_weights, load_weights, read_json, read_tensors, validate
from tarkib.models.mel_cnn import LogMel
from tarkib.models.musicnn import LEVEL

_PREFIX = "model."
_USED = ("conv.", "conformer.layers.", "conformer.layer_norm.")
"""Beginnings of the published keys that the hidden states depend on; the others are of pre-training or computed."""

_REMEDY = "copy or download the file again, or use MuQ-large-msd-iter"

Size = Annotated[int, Field(ge=1, le=16_384)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


class _Statistics(StrictModel, extra="ignore"):
    """Of the log-mel spectrograms that the network was trained on, in dB."""

    melspec_2048_mean: Annotated[float, Field(ge=-200, le=200)]
    melspec_2048_std: Annotated[float, Field(ge=1e-3, le=200)]


class _ConformerConfig(StrictModel, extra="ignore"):
    """Fields of a Wav2Vec2Conformer's configuration; the others do not matter here."""

    num_attention_heads: Annotated[int, Field(ge=1, le=256)]
    intermediate_size: Size
    hidden_act: Literal["swish", "silu"]
    position_embeddings_type: Literal["rotary"]
    rotary_embedding_base: Annotated[float, Field(ge=1, le=1e9)]
    conv_depthwise_kernel_size: Literal[31]
    layer_norm_eps: Annotated[float, Field(ge=1e-12, le=1)]
    hidden_dropout: Dropout
    activation_dropout: Dropout
    attention_dropout: Dropout
    conformer_conv_dropout: Dropout


class MuqConfig(StrictModel, extra="ignore"):
    """The published `config.json`, with the package's defaults; no layer is dropped whatever a file holds."""

    label_rate: Literal[25] = 25
    hop_length: Literal[240] = 240
    n_mels: Literal[128] = 128
    conv_dim: Size = 512
    encoder_dim: Size = 1024
    encoder_depth: Annotated[int, Field(ge=1, le=128)] = 12
    stat: _Statistics
    w2v2_config: _ConformerConfig

    to_dict = StrictModel.model_dump

    @field_validator("w2v2_config")
    @classmethod
    def _even_heads(cls, conformer: _ConformerConfig, info: ValidationInfo) -> _ConformerConfig:
        if info.data.get("encoder_dim", 0) % (2 * conformer.num_attention_heads):
            raise ValueError("encoder_dim must be an even multiple of num_attention_heads")
        return conformer


class Muq(nn.Module):
    """A log-mel spectrogram, two blocks of convolutions that keep a frame in four, and a conformer.

    A backbone with L = `layer_count` hidden states of width H = `hidden_size`; `source` is set by `load_backbone`.
    """

    kind: Literal["muq"] = "muq"
    source: dict[str, Any]

    def __init__(self, config: MuqConfig):
        super().__init__()
        self.config = config
        self.layer_count, self.hidden_size = config.encoder_depth + 1, config.encoder_dim
        self.mel = LogMel(2048, config.hop_length, config.n_mels, 0.0, 12_000.0)
        self.conv = _Front(config)
        self.conformer = _Conformer(config)

    def all_hidden_states(self, samples: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The L hidden states, each `[B, T, H]`, of normalised samples `[B, n]`."""
        # The result depends on the level, and the network was trained on the level of published music.
        return self.conformer(self.conv(self.spectrogram(LEVEL * samples)))

    @torch.no_grad()
    def spectrogram(self, samples: torch.Tensor) -> torch.Tensor:
        """Log-mel spectrogram in dB, float32 `[B, 128, T]`, less the mean and divided by the deviation of `stat`.

        Samples `[B, n]` are at their own level, 1 is full scale.
        """
        # In single precision a pure tone leaves rounding noise at -90 dB, which differs between runtimes. In the ONNX
        # file the transforms are in double precision anyway.
        precise = samples if torch.compiler.is_exporting() else samples.double()
        decibels = 10 * torch.log10(self.mel.power(precise)[..., :-1].clamp(min=1e-10))
        return (decibels - self.config.stat.melspec_2048_mean) / self.config.stat.melspec_2048_std


class _Front(nn.Module):
    """From spectrograms `[B, 128, 4 T]` to what the conformer gets, `[B, T, H]`."""

    def __init__(self, config: MuqConfig):
        super().__init__()
        self.conv = nn.Sequential(_Block(1, config.conv_dim), _Block(config.conv_dim, config.conv_dim))
        self.linear = nn.Linear(config.conv_dim * config.n_mels // 4, config.encoder_dim)

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        return self.linear(self.conv(spectrogram[:, None]).permute(0, 3, 1, 2).flatten(2))


class _Block(nn.Module):
    """Two convolutions beside a third, which halve both axes of `[B, channels, bands, T]`."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, stride=2)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(channels, width, 3, padding=1, stride=2)
        self.bn3 = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return relu(self.bn3(self.conv3(x)) + self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))))


class _Conformer(nn.Module):
    """The layers, and the states before each and after the last, normalised."""

    def __init__(self, config: MuqConfig):
        super().__init__()
        width, conformer = config.encoder_dim, config.w2v2_config
        self.head_size, self.base = width // conformer.num_attention_heads, conformer.rotary_embedding_base
        self.dropout = nn.Dropout(conformer.hidden_dropout)
        self.layers = nn.ModuleList(_Layer(width, conformer) for _ in range(config.encoder_depth))
        self.layer_norm = nn.LayerNorm(width, eps=conformer.layer_norm_eps)

    def forward(self, state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        cosine, sine = self.rotation(state.shape[1], state.device)
        states = [self.dropout(state)]
        for layer in self.layers:
            states.append(layer(states[-1], cosine, sine))
        return (*states[:-1], self.layer_norm(states[-1]))

    def rotation(self, frames: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of the rotary position embedding (Su et al. 2021), each `[frames, 1, head size]`."""
        speeds = self.base ** -(torch.arange(0, self.head_size, 2, device=device) / self.head_size)
        angles = torch.arange(frames, device=device)[:, None] * speeds
        angles = torch.cat([angles, angles], dim=1)[:, None]
        return angles.cos(), angles.sin()


class _Layer(nn.Module):
    """A layer of the conformer (Gulati et al. 2020), `[B, T, H]` to `[B, T, H]`."""

    def __init__(self, width: int, config: _ConformerConfig):
        super().__init__()
        self.ffn1_layer_norm = nn.LayerNorm(width)
        self.ffn1 = _FeedForward(width, config)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.self_attn = _Attention(width, config)
        self.self_attn_dropout = nn.Dropout(config.attention_dropout)
        self.conv_module = _Convolution(width, config)
        self.ffn2_layer_norm = nn.LayerNorm(width)
        self.ffn2 = _FeedForward(width, config)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, state: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        state = state + 0.5 * self.ffn1(self.ffn1_layer_norm(state))
        state = state + self.self_attn_dropout(self.self_attn(self.self_attn_layer_norm(state), cosine, sine))
        state = state + self.conv_module(state)
        state = state + 0.5 * self.ffn2(self.ffn2_layer_norm(state))
        return self.final_layer_norm(state)


class _FeedForward(nn.Module):
    def __init__(self, width: int, config: _ConformerConfig):
        super().__init__()
        self.intermediate_dense = nn.Linear(width, config.intermediate_size)
        self.intermediate_dropout = nn.Dropout(config.activation_dropout)
        self.output_dense = nn.Linear(config.intermediate_size, width)
        self.output_dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        inner = self.intermediate_dropout(silu(self.intermediate_dense(state)))
        return self.output_dropout(self.output_dense(inner))


class _Attention(nn.Module):
    """Attention whose queries and keys come from states that were rotated before their projection."""

    def __init__(self, width: int, config: _ConformerConfig):
        super().__init__()
        self.heads, self.dropout = config.num_attention_heads, config.attention_dropout
        self.linear_q = nn.Linear(width, width)
        self.linear_k = nn.Linear(width, width)
        self.linear_v = nn.Linear(width, width)
        self.linear_out = nn.Linear(width, width)

    def forward(self, state: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        heads = state.unflatten(2, (self.heads, -1))
        first, second = heads.chunk(2, dim=3)
        rotated = (heads * cosine + torch.cat([-second, first], dim=3) * sine).flatten(2)
        query, key, value = (
            layer(given).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, given in ((self.linear_q, rotated), (self.linear_k, rotated), (self.linear_v, state))
        )
        mixed = scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        return self.linear_out(mixed.transpose(1, 2).flatten(2))


class _Convolution(nn.Module):
    def __init__(self, width: int, config: _ConformerConfig):
        super().__init__()
        kernel = config.conv_depthwise_kernel_size
        self.layer_norm = nn.LayerNorm(width)
        self.pointwise_conv1 = nn.Conv1d(width, 2 * width, 1, bias=False)
        self.depthwise_conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        self.batch_norm = nn.BatchNorm1d(width)
        self.pointwise_conv2 = nn.Conv1d(width, width, 1, bias=False)
        self.dropout = nn.Dropout(config.conformer_conv_dropout)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        inner = glu(self.pointwise_conv1(self.layer_norm(state).transpose(1, 2)), dim=1)
        inner = self.pointwise_conv2(silu(self.batch_norm(self.depthwise_conv(inner))))
        return self.dropout(inner).transpose(1, 2)


def is_muq(folder: Path) -> bool:
    """Whether the directory's `config.json` is a MuQ's; TarkibError if it cannot be read."""
    content = read_json(folder / "config.json")
    return isinstance(content, dict) and "w2v2_config" in content


def load_muq(folder: Path) -> Muq:
    """Load the model in a directory, float32, on the CPU; no random number is drawn.

    Raises TarkibError if a file is missing, damaged or of another model.
    """
    config, path = folder / "config.json", find_weights(folder)
    with torch.device("meta"):
        network = Muq(validate(MuqConfig, read_json(config), str(config), _REMEDY))
    state = {key.removeprefix(_PREFIX): tensor for key, tensor in read_tensors(path).items()}
    load_weights(network, {key: tensor for key, tensor in state.items() if key.startswith(_USED)}, str(path))
    return network
