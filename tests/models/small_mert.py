"""What the tests of the networks share: small configurations, checkpoints in the published layout, parameters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import HubertConfig, HubertModel

from tarkib.models import backbone
from tarkib.models.mert_config import MertConfig
from tarkib.params import Model

TINY = Path(backbone.__file__).with_name("mert_tiny")
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}
NO_DROPOUT = dict.fromkeys(("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout"), 0.0)


def tiny(**changed: object) -> MertConfig:
    """The configuration of mert-tiny with some values changed."""
    return MertConfig(**{**json.loads((TINY / "config.json").read_text()), **changed})


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """White noise, float32."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def change(file: Path, **values: object) -> None:
    """Change some values of a JSON file."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def published(folder: Path, pre_norm: bool = True, **config: object) -> HubertModel:
    """Write a small checkpoint in MERT's published layout and return the model inside.

    Keys are those of 2022 (`weight_g`, `weight_v`), the file is a pickle, the configuration drops layers and masks.
    """
    folder.mkdir()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        plain = HubertModel(
            HubertConfig(**{**SMALL, **NO_DROPOUT, **config}, do_stable_layer_norm=pre_norm, layerdrop=0.0)
        )
        # Norms start as the identity; random values show whether they are in the right place.
        for parameter in plain.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    renamed = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state = plain.state_dict()
    for ours, theirs in renamed.items():
        state[f"encoder.pos_conv_embed.conv.{theirs}"] = state.pop(f"encoder.pos_conv_embed.conv.{ours}")
    torch.save(state, folder / "pytorch_model.bin")
    content = {
        **SMALL,
        "model_type": "mert_model",
        "auto_map": {"AutoConfig": "configuration_MERT.MERTConfig", "AutoModel": "modeling_MERT.MERTModel"},
        "do_stable_layer_norm": pre_norm,
        "apply_spec_augment": True,
        "mask_time_prob": 0.5,
        "layerdrop": 0.9,
        "attention_relax": 32.0,
        "deepnorm": False,
        "feature_extractor_cqt": False,
        "sample_rate": 24000,
        "torch_dtype": "float32",
        **NO_DROPOUT,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(content))
    preprocessor = {"do_normalize": True, "sampling_rate": 24000, "feature_extractor_type": "Wav2Vec2FeatureExtractor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return plain.eval()


def model_params(**changed: Any) -> Model:
    """The section `model` of the parameters with some values changed."""
    values = {"backbone": "mert-tiny", "revision": None, "finetune": "full", "freeze_convolutions": False}
    values |= {"spec_augment": False, "head_hidden": 16, "head_dropout": 0.1, "lora_rank": 4, "lora_alpha": 8}
    return Model(**{**values, **changed})
