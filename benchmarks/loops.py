"""The training loops that `benchmarks.training` compares: the original's, a plain one, and this project's.

Conventions
-----------
A maker, `loop(setting, shape, device)`, gives a function that makes one step on one batch and returns its loss, a
tensor of shape (), or, of a loop that trains nothing, what it made. Weights and clips are random: neither changes the
time. Clips lie in the host's memory at the start of a step, as a data loader leaves them.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from transformers import HubertConfig, HubertModel, Wav2Vec2FeatureExtractor

from tarkib.models import InstrumentClassifier
from tarkib.models.mert import MertModel, normalise
from tarkib.models.mert_config import SAMPLE_RATE, MertConfig
from tarkib.vocabulary import INSTRUMENTS

Step = Callable[[], torch.Tensor]

LEARNING_RATE, POS_WEIGHT, MAX_GRAD_NORM = 1e-4, 0.8, 1.0
HEAD_HIDDEN, HEAD_DROPOUT = 512, 0.1
LORA_RANK, LORA_ALPHA = 16, 8
"""As in params/paper.yaml."""

_BATCHES = 3  # different ones, taken in turn


@dataclass(frozen=True)
class Shape:
    """A model's configuration, the samples of a clip, and FLOP a clip (`full`, `frozen convolutions`, `forward`)."""

    name: str
    config: dict[str, object]
    samples: int
    flop: dict[str, float]


_NO_DROPOUT = dict.fromkeys(("hidden_dropout", "activation_dropout", "attention_dropout", "feat_proj_dropout"), 0.0)
PAPER = Shape(
    "MERT-v1-330M",
    {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "do_stable_layer_norm": True,
        **_NO_DROPOUT,
    },
    5 * SAMPLE_RATE,
    # Counted once with hand-checked formulas: FlopCounterMode over-counts the grouped positional convolution.
    {"full": 849e9, "frozen convolutions": 776e9, "forward": 283e9},
)
TINY = Shape(
    "a small MERT (2 layers of 64)",
    {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
        "do_stable_layer_norm": True,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
        **_NO_DROPOUT,
    },
    SAMPLE_RATE,
    {},
)


@dataclass(frozen=True)
class Setting:
    """A row of the table.

    `loop` is the maker. `flop` names the entry of `Shape.flop`, None where no figure is known. `once` is of what sees a
    clip once, and not in every epoch. `tf32` is of matrix products; torch's default is TF32 in convolutions alone.
    `graph` needs a GPU. `whole` is an epoch of `tarkib.training` in place of the loop's steps.
    """

    title: str
    loop: Callable[["Setting", Shape, torch.device], Step]
    batch: int = 16
    flop: str | None = "full"
    once: bool = False
    bf16: bool = True
    tf32: bool = False
    freeze_convolutions: bool = False
    checkpointing: bool = False
    lora: bool = False
    graph: bool = False
    whole: bool = False

    def precision(self, device: torch.device) -> AbstractContextManager:
        """Autocast to bfloat16, or nothing."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.bf16)


def _batches(
    setting: Setting, shape: Shape, device: torch.device, dtype: torch.dtype = torch.int16
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Clips, (batch, samples), and targets, (batch, 10), in memory that the device can fetch from.

    Clips are int16 as this project's own data sets give them, half the bytes to a device, or float32 of the same level.
    """
    generator = torch.Generator().manual_seed(1)
    some = []
    for _ in range(_BATCHES):
        clips = 0.1 * torch.randn((setting.batch, shape.samples), generator=generator)
        if dtype == torch.int16:
            clips = (32_767 * clips.clamp(-1, 1)).to(dtype)
        labels = (torch.rand((setting.batch, len(INSTRUMENTS)), generator=generator) < 0.3).float()
        some.append((clips.pin_memory(), labels.pin_memory()) if device.type == "cuda" else (clips, labels))
    return itertools.cycle(some)


class _Plain(nn.Module):
    """HuBERT, its hidden states' mean over time, learnt weights of the layers, ReLU, one linear layer: logits."""

    def __init__(self, shape: Shape, attention: str) -> None:
        super().__init__()
        config = HubertConfig(**MertConfig(**shape.config).model_dump())
        self.hubert = HubertModel(config)
        self.hubert.set_attn_implementation(attention)
        self.layers = nn.Conv1d(config.num_hidden_layers + 1, 1, 1)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(config.hidden_size, len(INSTRUMENTS)))

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        states = self.hubert(samples, output_hidden_states=True).hidden_states
        return self.head(self.layers(torch.stack(states, dim=1).mean(dim=2))[:, 0])


def original(setting: Setting, shape: Shape, device: torch.device) -> Step:
    """The original's loop: float32, eager attention, an extractor called for each clip, plain AdamW.

    No attention mask and no look at the loss, which can only have made it slower.
    """
    with device:
        model = _Plain(shape, "eager").train()
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=SAMPLE_RATE, do_normalize=True)
    loss_of = nn.BCEWithLogitsLoss(pos_weight=torch.tensor(POS_WEIGHT, device=device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    batches = _batches(setting, shape, device, torch.float32)

    def step() -> torch.Tensor:
        clips, labels = next(batches)
        inputs = [
            extractor(clip, sampling_rate=SAMPLE_RATE, padding=True, return_tensors="pt").input_values
            for clip in clips.numpy()
        ]
        optimizer.zero_grad()
        loss = loss_of(model(torch.cat(inputs).to(device)), labels.to(device))
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def plain(setting: Setting, shape: Shape, device: torch.device) -> Step:
    """What one writes with transformers and an afternoon: HubertModel, SDPA, bfloat16 autocast, AdamW."""
    with device:
        model = _Plain(shape, "sdpa").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    weight = torch.tensor(POS_WEIGHT, device=device)
    batches = _batches(setting, shape, device, torch.float32)

    def step() -> torch.Tensor:
        clips, labels = (tensor.to(device, non_blocking=True) for tensor in next(batches))
        optimizer.zero_grad()
        with setting.precision(device):
            logits = model(normalise(clips))
        loss = binary_cross_entropy_with_logits(logits.float(), labels, pos_weight=weight)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _classifier(setting: Setting, shape: Shape, device: torch.device) -> InstrumentClassifier:
    """This project's classifier, all of its backbone trained or, with LoRA, its adapters."""
    with device:
        backbone = MertModel(MertConfig(**shape.config))
        if setting.lora:
            from peft import LoraConfig, inject_adapter_in_model

            adapters = LoraConfig(r=LORA_RANK, lora_alpha=LORA_ALPHA, target_modules=["q_proj", "v_proj"])
            inject_adapter_in_model(adapters, backbone)
        classifier = InstrumentClassifier(backbone, head_hidden=HEAD_HIDDEN, head_dropout=HEAD_DROPOUT)
    classifier.to(device)
    if setting.freeze_convolutions:
        backbone.feature_extractor.requires_grad_(False)
    if setting.checkpointing:
        classifier.gradient_checkpointing_enable()
    return classifier.train()


def _learner(
    setting: Setting, classifier: InstrumentClassifier, logits_of: Callable[[torch.Tensor], torch.Tensor]
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A function that learns from a batch on the device: loss, gradients cut to a norm, fused AdamW."""
    trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=LEARNING_RATE, fused=True)
    device = trained[0].device
    weight = torch.tensor(POS_WEIGHT, device=device)

    def learn(inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with setting.precision(device):
            logits = logits_of(inputs)
        loss = binary_cross_entropy_with_logits(logits.float(), labels, pos_weight=weight)
        loss.backward()
        nn.utils.clip_grad_norm_(trained, MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return learn


def ours(setting: Setting, shape: Shape, device: torch.device) -> Step:
    """This project's classifier, trained as `tarkib.training` trains it, without what stands around a step."""
    classifier = _classifier(setting, shape, device)
    learn = _learner(setting, classifier, classifier)
    batches = _batches(setting, shape, device)
    return lambda: learn(*(tensor.to(device, non_blocking=True) for tensor in next(batches)))


def extraction(setting: Setting, shape: Shape, device: torch.device) -> Step:
    """The frozen backbone's hidden states of each clip, averaged over time, to the host in half precision."""
    classifier = _classifier(setting, shape, device).eval()
    batches = _batches(setting, shape, device)

    def step() -> torch.Tensor:
        clips, _ = next(batches)
        with torch.inference_mode(), setting.precision(device):
            return classifier.pooled_states(clips.to(device, non_blocking=True)).half().cpu()

    return step


def head(setting: Setting, shape: Shape, device: torch.device) -> Step:
    """The head alone, on hidden states that were kept, in half precision, on the device."""
    classifier = _classifier(setting, shape, device)
    classifier.backbone.requires_grad_(False)
    kept = torch.randn((64 * setting.batch, classifier.backbone.layer_count, classifier.backbone.hidden_size)).half()
    kept = kept.to(device)
    learn = _learner(setting, classifier, lambda pooled: classifier.head(classifier.mix_layers(pooled)))
    batches = _batches(setting, shape, device)

    def step() -> torch.Tensor:
        _, labels = next(batches)
        chosen = torch.randint(len(kept), (setting.batch,), device=device)
        return learn(kept[chosen].float(), labels.to(device, non_blocking=True))

    return step


def graphed(setting: Setting, shape: Shape, device: torch.device) -> Step:
    """`ours` as one CUDA graph, as `run.cuda_graphs` trains; TarkibError where it cannot be recorded."""
    from tarkib.training.graphs import GraphedStep, Recorder

    classifier = _classifier(setting, shape, device)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=LEARNING_RATE, fused=True)
    weight = torch.tensor(POS_WEIGHT, device=device)

    def loss_of(batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
        with setting.precision(device):
            logits = classifier(batch["samples"])
        return binary_cross_entropy_with_logits(logits.float(), batch["labels"], pos_weight=weight)

    learn = GraphedStep(Recorder(), loss_of, optimizer, MAX_GRAD_NORM, setting.batch)
    batches = _batches(setting, shape, device)

    def step() -> torch.Tensor:
        clips, labels = (tensor.to(device, non_blocking=True) for tensor in next(batches))
        return learn({"samples": clips, "labels": labels}).loss

    return step


HEADLINE = Setting("**Tarkib: bf16, SDPA, fused AdamW**", ours)
# The most important first: where time runs out, the last are missing.
SETTINGS = (
    HEADLINE,
    Setting("plain `HubertModel`, hand loop: bf16, SDPA", plain),
    Setting("the original's loop: fp32, eager attention, an extractor's call a clip", original, bf16=False),
    Setting("Tarkib, as one CUDA graph", graphed, graph=True),
    Setting("Tarkib, the whole training: FLAC shards, loaders, Trainer, validation, checkpoint", ours, whole=True),
    Setting("Tarkib, the same with `run.cuda_graphs`", ours, whole=True, graph=True),
    Setting("Tarkib, at batch 64", ours, batch=64),
    Setting("Tarkib, at batch 32", ours, batch=32),
    Setting("Tarkib, LoRA, rank 16 on q and v", ours, flop=None, lora=True),
    Setting("Tarkib, frozen: hidden states of each clip, once", extraction, flop="forward", once=True),
    Setting("Tarkib, frozen: the head on them", head, flop=None),
    Setting("Tarkib, gradient checkpointing", ours, checkpointing=True),
    Setting("Tarkib, convolutions frozen", ours, flop="frozen convolutions", freeze_convolutions=True),
    Setting("Tarkib, fp32 with TF32", ours, bf16=False, tf32=True),
    Setting("Tarkib, fp32", ours, bf16=False),
)
