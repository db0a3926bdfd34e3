"""A pre-trained backbone in a folder of the published layout, with a card that says what it heard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from tarkib.models.mert import SAMPLE_RATE, MertModel
from tarkib.pretraining.corpus import Corpus
from tarkib.pretraining.training import Pretrained

_RENAMED = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
"""Keys of weight normalisation as the published files have them."""


def write(folder: Path, backbone: MertModel, card: str, dtype: torch.dtype = torch.float32) -> None:
    """Write config.json, model.safetensors (numbers of `dtype`), preprocessor_config.json and README.md."""
    state = {}
    for key, tensor in sorted(backbone.state_dict().items()):
        for ours, published in _RENAMED.items():
            key = key.replace(ours, published)
        state[key] = tensor.detach().to("cpu", dtype).contiguous()
    (folder / "model.safetensors").write_bytes(save(state, metadata={"format": "pt"}))
    preprocessor = {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": True,
        "sampling_rate": SAMPLE_RATE,
    }
    # What HuBERT has for speech, which no MERT knows, is left out where it is as usual.
    config = {**backbone.config.to_diff_dict(), "sample_rate": SAMPLE_RATE}
    for name, content in (("config.json", config), ("preprocessor_config.json", preprocessor)):
        (folder / name).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(card, encoding="utf-8")


def card(params: Any, corpus: Corpus, result: Pretrained) -> str:
    """Text of the card in Markdown: what it started from, what it heard, how well it guesses."""
    last, guess = result.history[-1], result.guess
    source: Mapping[str, Any] = getattr(result.model.backbone, "source", {})
    licence = source.get("weights_licence")
    licence_line = (
        f"It was carried on from weights under {licence}: no commercial use of it, nor of what is made from it."
        if licence
        else "The weights are the trainer's own, or under the licence of the directory that they were carried on from."
    )
    revision = f", revision {source['revision']}" if source.get("revision") else ""
    return f"""# A backbone that has heard music

Hidden states of mono sound at 24 kHz, 75 a second, each clip normalised; no labels were used.

- **Started from**: `{params.start}`{revision}, seed {params.seed}.
- **Heard**: {len(corpus.lengths)} recordings, {corpus.seconds / 3600:.2f} hours, a twentieth of them held out; \
{params.steps} steps of {params.batch_size} clips of five seconds, {params.steps * params.batch_size / 720:.1f} hours \
in all.
- **Learnt by**: masked prediction (MERT, arXiv 2306.00107) of {params.clusters} clusters of log-mel frames and of \
constant-Q bins (weight {params.musical_weight:g}); about {params.mask_share:.0%} of the frames masked, in spans of \
{params.mask_frames}; learning rate {params.learning_rate:g}.
- **Held out**: acoustic loss {last["acoustic"]:.3f} (a guess that hears nothing: {guess["acoustic"]:.3f}), \
{last["accuracy"]:.1%} of the masked frames right ({guess["accuracy"]:.1%}), musical loss {last["musical"]:.3f} \
({guess["musical"]:.3f}).
- **Licence**: {licence_line}

Fine-tune from it with `model.backbone` set to this folder.
"""
