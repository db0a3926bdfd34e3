"""The instrument classifier: a backbone's hidden states, averaged over time, mixed over layers, into a small MLP.

    samples [B, n] → normalised → hidden states L × [B, T, H] → mean over T [B, L, H] → weighted sum over L [B, H]
    → two-layer MLP → logits [B, 10]

The layer weights are a softmax of learnt numbers, equal at the start.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import nn

from tarkib.errors import TarkibError
from tarkib.models.backbone import Backbone, load_backbone
from tarkib.models.familiarity import Familiarity
from tarkib.models.files import StrictModel, checksum, load_weights, mert_on_meta, read_json, read_tensors, validate
from tarkib.models.mel_cnn import MelCnn, MelCnnConfig
from tarkib.models.mert import MertModel, normalise
from tarkib.models.mert_config import SAMPLE_RATE
from tarkib.models.muq import Muq, MuqConfig
from tarkib.models.musicnn import Musicnn, MusicnnConfig
from tarkib.params import Model
from tarkib.runtime.outputs import atomic_file
from tarkib.vocabulary import INSTRUMENTS


class InstrumentClassifier(nn.Module):
    """Logits of the instruments in a batch of clips.

    Attributes
    ----------
    labels : the classes, in the order of the logits.
    trained_classes : the classes in the training data; the logits of the others mean nothing.
    thresholds : class to the probability (0 to 1) from which it counts as present.
    chosen_thresholds : the classes whose threshold was chosen on validation; the others have 0.5.
    familiarity : how near a clip is to the training clips; None for a classifier of an earlier version.
    source : the backbone's origin (`name`, `revision`, …, as `load_backbone` records it) and how it was fine-tuned.
    """

    def __init__(
        self, backbone: Backbone, *, head_hidden: int, head_dropout: float, source: Mapping[str, Any] | None = None
    ):
        super().__init__()
        self.backbone: Backbone = backbone
        self.layer_weights = nn.Parameter(torch.zeros(backbone.layer_count))
        self.head = nn.Sequential(
            nn.Linear(backbone.hidden_size, head_hidden),
            nn.ReLU(),
            nn.Dropout(head_dropout),
            nn.Linear(head_hidden, len(INSTRUMENTS)),
        )
        self.labels: tuple[str, ...] = INSTRUMENTS
        self.trained_classes: tuple[str, ...] = INSTRUMENTS
        self.thresholds: dict[str, float] = dict.fromkeys(INSTRUMENTS, 0.5)
        self.chosen_thresholds: tuple[str, ...] = ()
        self.familiarity: Familiarity | None = None
        self.source = dict(source or {})

    @property
    def frozen(self) -> bool:
        """Whether no parameter of the backbone is trained."""
        return not any(parameter.requires_grad for parameter in self.backbone.parameters())

    def train(self, mode: bool = True) -> "InstrumentClassifier":
        """Set the training mode; a frozen backbone stays in evaluation mode, without dropout or running statistics."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Logits `[B, 10]` of clips `[B, n]`: mono, 24,000 Hz, any level, float or int16 (normalised here)."""
        return self.head(self.states(samples))

    def states(self, samples: torch.Tensor) -> torch.Tensor:
        """Embeddings `[B, H]` of clips `[B, n]`, the input of the head: pooled states, mixed over layers."""
        return self.mix_layers(self.pooled_states(samples))

    def pooled_states(self, samples: torch.Tensor) -> torch.Tensor:
        """Hidden states of clips `[B, n]`, averaged over time, `[B, L, H]`."""
        # One after another, where the backbone can: only the means need be kept.
        hidden_states = getattr(self.backbone, "hidden_states", self.backbone.all_hidden_states)
        return torch.stack([state.mean(dim=1) for state in hidden_states(normalise(samples))], dim=1)

    def mix_layers(self, pooled: torch.Tensor) -> torch.Tensor:
        """The layers' weighted sum `[B, H]` of pooled states `[B, L, H]`."""
        weights = torch.softmax(self.layer_weights, dim=0)
        return (pooled * weights[:, None]).sum(dim=1)

    def gradient_checkpointing_enable(self) -> None:
        """Recompute a MERT's activations in the backward pass; TarkibError for another backbone."""
        if not isinstance(self.backbone, MertModel):
            name = self.source.get("name")
            raise TarkibError(f"run.gradient_checkpointing: {name} does not support it; set it to false")
        self.backbone.recompute_activations()

    def save(
        self,
        folder: Path | str,
        *,
        trained_classes: Sequence[str] | None = None,
        thresholds: Mapping[str, float] | None = None,
        chosen_thresholds: Sequence[str] | None = None,
    ) -> None:
        """Write `model.safetensors` and `config.json`, all that `load` needs: no network, no original checkpoint.

        LoRA adapters are merged in the file only, not in this object. The configuration is written last and holds the
        weights' checksum, so a folder with one old and one new file does not load. The arguments, where given, also
        become attributes of this classifier.
        """
        from safetensors.torch import save

        if trained_classes is not None:
            self.trained_classes = tuple(label for label in self.labels if label in trained_classes)
        if thresholds is not None:
            self.thresholds = {label: float(thresholds[label]) for label in self.labels}
        if chosen_thresholds is not None:
            self.chosen_thresholds = tuple(chosen_thresholds)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = save(_merged_state(self), metadata={"format": "pt"})
        content = {
            "format": 1,
            "labels": list(self.labels),
            "trained_classes": list(self.trained_classes),
            "thresholds": self.thresholds,
            "chosen_thresholds": list(self.chosen_thresholds),
            "sample_rate": SAMPLE_RATE,
            "backbone": {
                "kind": "mert" if isinstance(self.backbone, MertModel) else self.backbone.kind,
                "source": self.source,
                "config": self.backbone.config.to_dict(),
            },
            "head": {"hidden": self.head[0].out_features, "dropout": self.head[2].p},
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
            "versions": {name: metadata.version(name) for name in ("tarkib", "torch", "transformers")},
        }
        with atomic_file(folder / "model.safetensors") as path:
            path.write_bytes(weights)
        with atomic_file(folder / "config.json") as path:
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


class _Backbone(StrictModel):
    kind: Literal["mert", "mel-cnn", "muq", "musicnn"]
    source: dict[str, Any]
    config: dict[str, Any]


class _Head(StrictModel):
    hidden: Annotated[int, Field(ge=1, le=65_536)]
    dropout: Annotated[float, Field(ge=0, le=1)]


class _ClassifierConfig(StrictModel):
    """A classifier's `config.json`; `format` is the version of this layout."""

    format: Literal[1]
    labels: list[str]
    trained_classes: Annotated[list[str], Field(min_length=1)]
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]]
    chosen_thresholds: list[str]
    sample_rate: Literal[24_000]
    backbone: _Backbone
    head: _Head
    weights_sha256: str
    versions: dict[str, str]

    @field_validator("labels", "trained_classes", "thresholds", "chosen_thresholds")
    @classmethod
    def _known(cls, labels: Any, info: ValidationInfo) -> Any:
        whole = info.field_name in ("labels", "thresholds")
        if not (tuple(labels) == INSTRUMENTS if whole else set(labels) <= set(INSTRUMENTS)):
            raise ValueError(f"this version of Tarkib has the classes {', '.join(INSTRUMENTS)}")
        return labels


def build(params: Model, *, seed: int) -> InstrumentClassifier:
    """A classifier to be trained; `seed` is that of all random initial weights.

    Raises TarkibError if the backbone cannot be loaded, or does not support `finetune` or `freeze_convolutions`.
    """
    backbone = load_backbone(params.backbone, revision=params.revision, seed=seed, spec_augment=params.spec_augment)
    if not isinstance(backbone, MertModel | Muq) and params.finetune == "lora":
        raise TarkibError(f"model.finetune: {params.backbone} has no attention for LoRA; choose full or frozen")
    if not isinstance(backbone, MertModel) and params.freeze_convolutions:
        raise TarkibError(f"model.freeze_convolutions: {params.backbone} does not support it; set it to false")
    source = {**backbone.source, "finetune": params.finetune}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = InstrumentClassifier(
            backbone, head_hidden=params.head_hidden, head_dropout=params.head_dropout, source=source
        )
        if params.finetune == "lora":
            from peft import LoraConfig, inject_adapter_in_model

            projections = ["linear_q", "linear_v"] if isinstance(backbone, Muq) else ["q_proj", "v_proj"]
            adapters = LoraConfig(r=params.lora_rank, lora_alpha=params.lora_alpha, target_modules=projections)
            inject_adapter_in_model(adapters, backbone)
    if params.finetune == "frozen":
        backbone.requires_grad_(False)
    if isinstance(backbone, MertModel) and params.freeze_convolutions:
        # Saves a third of the activations and a tenth of the time.
        backbone.feature_extractor.requires_grad_(False)
    return classifier


def load(folder: Path | str) -> InstrumentClassifier:
    """Read a classifier that `save` wrote, in evaluation mode, on the CPU.

    Raises TarkibError if a file is missing or damaged, or the two do not belong together.
    """
    folder = Path(folder)
    config_path, weights_path = folder / "config.json", folder / "model.safetensors"
    for path in (config_path, weights_path):
        if not path.is_file():
            raise TarkibError(f"{path}: missing; a classifier's folder holds config.json and model.safetensors")
    name, remedy = f"{config_path}: backbone", "train or pull it again"
    content = validate(_ClassifierConfig, read_json(config_path), str(config_path), remedy)
    saved, head = content.backbone, content.head
    with torch.device("meta"):
        backbone: Backbone
        if saved.kind == "mert":
            backbone = mert_on_meta(saved.config, name)
        elif saved.kind == "muq":
            backbone = Muq(validate(MuqConfig, saved.config, name, remedy))
        elif saved.kind == "musicnn":
            backbone = Musicnn(validate(MusicnnConfig, saved.config, name, remedy))
        else:
            backbone = MelCnn(validate(MelCnnConfig, saved.config, name, remedy))
        classifier = InstrumentClassifier(
            backbone, head_hidden=head.hidden, head_dropout=head.dropout, source=saved.source
        )
    classifier.trained_classes = tuple(content.trained_classes)
    classifier.chosen_thresholds = tuple(content.chosen_thresholds)
    classifier.thresholds = content.thresholds
    if checksum(weights_path) != content.weights_sha256:
        raise TarkibError(f"{weights_path}: damaged, or written with another config.json; {remedy} (both files)")
    tensors = read_tensors(weights_path)
    if any(key.startswith("familiarity.") for key in tensors):
        with torch.device("meta"):
            classifier.familiarity = Familiarity(backbone.hidden_size)
    load_weights(classifier, tensors, str(weights_path))
    return classifier.eval()


def _merged_state(classifier: InstrumentClassifier) -> dict[str, torch.Tensor]:
    """The state to save: LoRA adapters merged into the weights, without the counter of SpecAugment's draws."""
    state = classifier.state_dict()
    for name, module in classifier.named_modules():
        if not hasattr(module, "lora_A"):
            continue
        for key in [key for key in state if key.startswith(f"{name}.")]:
            tensor = state.pop(key)
            if key.startswith(f"{name}.base_layer."):
                state[key.replace(".base_layer.", ".")] = tensor
        state[f"{name}.weight"] = state[f"{name}.weight"] + module.get_delta_weight("default").detach()
    state.pop("backbone.spec_augment_draws", None)
    return {key: tensor.cpu().contiguous() for key, tensor in sorted(state.items())}
