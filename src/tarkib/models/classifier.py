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
from typing import Any

import torch
from torch import nn

from tarkib.errors import TarkibError
from tarkib.models import bounds
from tarkib.models.backbone import load_backbone
from tarkib.models.checkpoint import checksum, config_from_dict, empty_mert, load_weights, read_json, read_tensors
from tarkib.models.mel_cnn import MelCnn, MelCnnConfig
from tarkib.models.mert import SAMPLE_RATE, MertModel, normalise
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.text import bounded, quoted, some
from tarkib.vocabulary import INSTRUMENTS

FORMAT = 1
"""Version of the layout that `save` writes and `load` reads."""

_DEFAULT_THRESHOLD = 0.5
_BACKBONES = {"mert": MertModel, "mel-cnn": MelCnn}


class InstrumentClassifier(nn.Module):
    """Logits of the instruments in a batch of clips.

    Parameters
    ----------
    backbone : a module with `all_hidden_states`, `layer_count` and `hidden_size`.
    head_hidden : width of the MLP's hidden layer.
    head_dropout : dropout before the last layer, 0 to 1.
    source : where the backbone came from, for the record (`name`, `revision`, …, as `load_backbone` tells).

    Attributes
    ----------
    labels : the classes, in the order of the logits.
    trained_classes : those that the training data had; the logits of the others mean nothing.
    thresholds : class to the probability (0 to 1) from which it counts as present.
    chosen_thresholds : the classes whose threshold validation chose; of the others it is 0.5.
    """

    def __init__(
        self, backbone: nn.Module, *, head_hidden: int, head_dropout: float, source: Mapping[str, Any] | None = None
    ):
        super().__init__()
        self.backbone = backbone
        self.layer_weights = nn.Parameter(torch.zeros(backbone.layer_count))
        self.head = nn.Sequential(
            nn.Linear(backbone.hidden_size, head_hidden),
            nn.ReLU(),
            nn.Dropout(head_dropout),
            nn.Linear(head_hidden, len(INSTRUMENTS)),
        )
        self.labels: tuple[str, ...] = INSTRUMENTS
        self.trained_classes: tuple[str, ...] = INSTRUMENTS
        self.thresholds: dict[str, float] = dict.fromkeys(INSTRUMENTS, _DEFAULT_THRESHOLD)
        self.chosen_thresholds: tuple[str, ...] = ()
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
        return self.classify(self.pooled_states(samples))

    def pooled_states(self, samples: torch.Tensor) -> torch.Tensor:
        """Hidden states, averaged over time, `[B, L, H]`, of clips `[B, n]`: all that the head sees of a clip."""
        hidden_states = self.backbone.all_hidden_states(normalise(samples))
        return torch.stack([state.mean(dim=1) for state in hidden_states], dim=1)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """Logits `[B, 10]` of what `pooled_states` gave."""
        weights = torch.softmax(self.layer_weights, dim=0)
        return self.head((pooled * weights[:, None]).sum(dim=1))

    def gradient_checkpointing_enable(self) -> None:
        """Compute a MERT's activations twice (`MertModel.recompute_activations`); TarkibError for another backbone."""
        if not isinstance(self.backbone, MertModel):
            raise TarkibError(f"run.gradient_checkpointing: {self.source.get('name')} has none; set it to false")
        self.backbone.recompute_activations()

    def prepare_for_compile(self) -> None:
        """Make ready for `torch.compile`, before the first step; raises as `MertModel.prepare_for_compile` does."""
        if isinstance(self.backbone, MertModel):
            self.backbone.prepare_for_compile()

    def save(
        self,
        folder: Path | str,
        *,
        trained_classes: Sequence[str] | None = None,
        thresholds: Mapping[str, float] | None = None,
        chosen_thresholds: Sequence[str] | None = None,
    ) -> None:
        """Write `model.safetensors` and `config.json`, all that `load` needs: no network, no original checkpoint.

        LoRA adapters are merged into the weights in the file, not in this module. Both files are written beside and
        renamed, the configuration last, with the weights' checksum in it: a folder with one old and one new file does
        not load. `trained_classes`, `thresholds` and `chosen_thresholds`, where given, become the classifier's own.
        """
        from safetensors.torch import save

        if trained_classes is not None:
            self.trained_classes = tuple(label for label in self.labels if label in set(trained_classes))
        if thresholds is not None:
            self.thresholds = {label: float(thresholds[label]) for label in self.labels}
        if chosen_thresholds is not None:
            self.chosen_thresholds = tuple(chosen_thresholds)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        weights = save(_plain_state(self), metadata={"format": "pt"})
        content = {
            "format": FORMAT,
            "labels": list(self.labels),
            "trained_classes": list(self.trained_classes),
            "thresholds": self.thresholds,
            "chosen_thresholds": list(self.chosen_thresholds),
            "sample_rate": SAMPLE_RATE,
            "backbone": {
                "kind": next(kind for kind, cls in _BACKBONES.items() if isinstance(self.backbone, cls)),
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


def build(params: Any, *, seed: int, attention: str = "sdpa") -> InstrumentClassifier:
    """Make a classifier ready to be trained.

    Parameters
    ----------
    params : the `model` section of the parameters: `backbone`, `revision`, `finetune` (`full`, `frozen` or `lora`),
        `freeze_convolutions`, `spec_augment`, `head_hidden`, `head_dropout`, `lora_rank`, `lora_alpha`.
    seed : of all that starts at random.
    attention : `sdpa` or `eager`.

    Raises TarkibError where the backbone cannot be loaded, or lacks what `finetune` or `freeze_convolutions` names.
    """
    backbone = load_backbone(
        params.backbone, revision=params.revision, seed=seed, attention=attention, spec_augment=params.spec_augment
    )
    is_mert = isinstance(backbone, MertModel)
    if not is_mert and params.finetune == "lora":
        raise TarkibError(f"model.finetune: {params.backbone} has no attention for LoRA; choose full or frozen")
    if not is_mert and params.freeze_convolutions:
        raise TarkibError(f"model.freeze_convolutions: {params.backbone} is all convolutions; set it to false")
    source = {**backbone.source, "finetune": params.finetune}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = InstrumentClassifier(
            backbone, head_hidden=params.head_hidden, head_dropout=params.head_dropout, source=source
        )
        if params.finetune == "frozen":
            backbone.requires_grad_(False)
        elif params.finetune == "lora":
            from peft import LoraConfig, inject_adapter_in_model

            adapters = LoraConfig(r=params.lora_rank, lora_alpha=params.lora_alpha, target_modules=["q_proj", "v_proj"])
            inject_adapter_in_model(adapters, backbone)
    if params.freeze_convolutions:
        backbone.freeze_convolutions()
    return classifier


def load(folder: Path | str) -> InstrumentClassifier:
    """Read a classifier that `save` wrote, in evaluation mode, on the CPU.

    Raises TarkibError where a file is missing or damaged or the two do not belong together.
    """
    folder = Path(folder)
    config_path, weights_path = folder / "config.json", folder / "model.safetensors"
    for path in (config_path, weights_path):
        if not path.is_file():
            raise TarkibError(f"{path}: missing; a classifier's folder holds config.json and model.safetensors")
    content = read_json(config_path)
    try:
        if content["format"] != FORMAT:
            raise TarkibError(
                f"{config_path}: format {quoted(content['format'])}, but this version of Tarkib reads format {FORMAT}"
            )
        if content["labels"] != list(INSTRUMENTS):
            raise TarkibError(
                f"{config_path}: its classes are {some(map(bounded, content['labels']))}, but here they are "
                f"{', '.join(INSTRUMENTS)}"
            )
        if content["sample_rate"] != SAMPLE_RATE:
            raise ValueError(f"sample_rate is {quoted(content['sample_rate'])}, but clips have {SAMPLE_RATE} Hz")
        trained, digest, head = content["trained_classes"], content["weights_sha256"], content["head"]
        if not isinstance(trained, list) or not trained or not all(one in INSTRUMENTS for one in trained):
            raise ValueError(f"trained_classes is {quoted(trained)}; expected a list of some of the classes")
        # Classifiers of before there was a choice have no such entry.
        chosen = content.get("chosen_thresholds", trained)
        if not isinstance(chosen, list) or not all(one in INSTRUMENTS for one in chosen):
            raise ValueError(f"chosen_thresholds is {quoted(chosen)}; expected a list of some of the classes")
        thresholds = {label: content["thresholds"][label] for label in INSTRUMENTS}
        bounds.check(thresholds, dict.fromkeys(INSTRUMENTS, bounds.SHARE), f"{config_path}: thresholds")
        bounds.check(head, bounds.HEAD, f"{config_path}: head")
        backbone = _backbone(content["backbone"], f"{config_path}: backbone")
        source = dict(content["backbone"]["source"])
        with torch.device("meta"):
            classifier = InstrumentClassifier(
                backbone, head_hidden=head["hidden"], head_dropout=head["dropout"], source=source
            )
    except TarkibError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"no {error}" if isinstance(error, KeyError) else bounded(error)
        raise TarkibError(
            f"{config_path}: not a classifier's configuration ({problem}); train or pull it again"
        ) from error
    classifier.trained_classes, classifier.chosen_thresholds = tuple(trained), tuple(chosen)
    classifier.thresholds = {label: float(one) for label, one in thresholds.items()}
    if checksum(weights_path) != digest:
        raise TarkibError(
            f"{weights_path}: damaged, or not those that config.json was written with; train or pull both again"
        )
    load_weights(classifier, read_tensors(weights_path), str(weights_path))
    return classifier.eval()


def _backbone(content: Mapping[str, Any], name: str) -> nn.Module:
    """Make the backbone, its weights still to be filled, of what `save` recorded of it."""
    kind, config = content["kind"], content.get("config")
    if kind == "mel-cnn":
        bounds.check(config, bounds.MEL_CNN, name)
        with torch.device("meta"):
            return MelCnn(MelCnnConfig(**config))
    if kind != "mert":
        raise TarkibError(f"{name}: kind {quoted(kind)} is unknown; this version of Tarkib has {', '.join(_BACKBONES)}")
    return empty_mert(config_from_dict(config, name), name)


def _plain_state(classifier: InstrumentClassifier) -> dict[str, torch.Tensor]:
    """The weights without what only training needs: adapters are merged, the count of spec augment's draws left out."""
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
