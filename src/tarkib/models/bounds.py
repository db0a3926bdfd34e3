"""What a configuration may ask for, checked before anything is made of it.

A network of the greatest size is far from any that is published, and its empty form is still made in seconds.
"""

from collections.abc import Mapping
from typing import Any

from tarkib.errors import TarkibError
from tarkib.runtime.text import quoted

Limits = Mapping[str, tuple[type, float, float]]
"""Of fields by name: int for whole numbers or float for any, and the least and the greatest."""

SHARE = (float, 0, 1)
_CHANNELS = (int, 1, 4096)

HEAD: Limits = {"hidden": (int, 1, 65_536), "dropout": SHARE}

MEL_CNN: Limits = {
    "sample_rate": (int, 24_000, 24_000),
    "window": (int, 64, 8192),
    "hop": (int, 80, 2400),
    "bands": (int, 1, 512),
    "fmin": (float, 0, 11_999),
    "fmax": (float, 1, 12_000),
    "channels": _CHANNELS,
    "layers": (int, 1, 12),
    "kernel": (int, 1, 101),
}

MERT: Limits = {
    "hidden_size": (int, 1, 8192),
    "num_hidden_layers": (int, 1, 128),
    "num_attention_heads": (int, 1, 128),
    "intermediate_size": (int, 1, 65_536),
    "conv_dim": _CHANNELS,
    "conv_kernel": (int, 1, 4096),
    "conv_stride": (int, 1, 320),
    "num_conv_pos_embeddings": (int, 1, 1024),
    "num_conv_pos_embedding_groups": (int, 1, 8192),
    "hidden_dropout": SHARE,
    "activation_dropout": SHARE,
    "attention_dropout": SHARE,
    "feat_proj_dropout": SHARE,
    "layer_norm_eps": (float, 0, 1),
    "initializer_range": (float, 0, 10),
    "mask_time_prob": SHARE,
    "mask_time_length": (int, 1, 374),
    "mask_time_min_masks": (int, 0, 374),
    "mask_feature_prob": SHARE,
    "mask_feature_length": (int, 1, 8192),
    "mask_feature_min_masks": (int, 0, 8192),
    "feature_extractor_cqt_bins": (int, 7, 1024),
    "feature_extractor_cqt_fmin": (float, 10, 10_800),
    "feature_extractor_cqt_bins_per_octave": (int, 1, 192),
    "feature_extractor_cqt_gamma": (float, 0, 1e9),
}
_LISTS = ("conv_dim", "conv_kernel", "conv_stride")
"""Fields that hold a list, a value for each convolution."""
_MOST_CONVOLUTIONS = 16


def check(values: Mapping[str, Any], limits: Limits, name: str) -> None:
    """Raise TarkibError, beginning with `name`, for the first value that its limits do not allow.

    Values without limits are not looked at; of a list each entry is one.
    """
    for field, (kind, low, high) in limits.items():
        if field not in values:
            continue
        value = values[field]
        entries = value if field in _LISTS and isinstance(value, list) else [value]
        # By the type itself: true is an int to Python.
        fits = all(type(one) in {kind, int} and low <= one <= high for one in entries)
        if not fits or len(entries) > _MOST_CONVOLUTIONS:
            what = "a whole number" if kind is int else "a number"
            raise TarkibError(f"{name}: {field} is {quoted(value)}; expected {what} from {low:,} to {high:,}")
