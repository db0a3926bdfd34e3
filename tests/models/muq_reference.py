"""Writes muq_reference.npz: what the authors' code gives for a small MuQ with made weights.

    python muq_reference.py      # muq 0.1.0 with its dependencies, transformers 4.57.1 (5 does not run it)

The tests make the same checkpoint by `checkpoint`.
"""

import json
import tempfile
from pathlib import Path
from zlib import crc32

import numpy as np

FILE = Path(__file__).with_suffix(".npz")
CONFIG = {
    "label_rate": 25,
    "hop_length": 240,
    "n_mels": 128,
    "codebook_size": 64,
    "conv_dim": 4,
    "encoder_dim": 16,
    "encoder_depth": 2,
    "is_flash": False,
    "use_rvq_target": True,
    "rvq_n_codebooks": 1,
    "stat": {"melspec_2048_cnt": 14282760192, "melspec_2048_mean": 6.768444971712967, "melspec_2048_std": 18.4179226},
    "w2v2_config": {
        "activation_dropout": 0.1,
        "attention_dropout": 0.1,
        "conformer_conv_dropout": 0.1,
        "conv_depthwise_kernel_size": 31,
        "feat_extract_activation": "gelu",
        "hidden_act": "swish",
        "hidden_dropout": 0.1,
        "hidden_size": 1024,
        "intermediate_size": 24,
        "layer_norm_eps": 1e-05,
        "layerdrop": 0.5,
        "model_type": "wav2vec2-conformer",
        "num_attention_heads": 4,
        "num_conv_pos_embedding_groups": 16,
        "num_conv_pos_embeddings": 128,
        "num_hidden_layers": 24,
        "position_embeddings_type": "rotary",
        "rotary_embedding_base": 10000,
    },
}


def clip(seconds: float = 2) -> np.ndarray:
    """Swelling sines from 40 to 11,500 Hz that begin out of silence, 24,000 Hz, RMS 0.1."""
    rng = np.random.default_rng(0)
    time = np.arange(int(seconds * 24_000)) / 24_000
    sound = np.zeros_like(time)
    for hz in np.geomspace(40, 11_500, 200):
        swell = 1 + np.cos(2 * np.pi * (rng.uniform(0.5, 8) * time + rng.random()))
        sound += swell * np.sin(2 * np.pi * (hz * time + rng.random()))
    sound *= time > seconds / 5
    return (0.1 * sound / np.sqrt(np.square(sound).mean())).astype(np.float32)


def weights(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor's values, which its name decides."""
    values = np.random.default_rng(crc32(name.encode())).standard_normal(shape)
    if "num_batches" in name:
        return np.array(7)
    if "inv_freq" in name:  # no weight: computed, and stored all the same
        return (10_000 ** -(np.arange(shape[0]) / shape[0])).astype(np.float32)
    if name.endswith("running_var"):
        values = 0.5 + np.abs(values)
    elif len(shape) > 1:
        values /= np.sqrt(np.prod(shape[1:]))
    else:
        values = 0.2 * values + name.endswith("weight")
    return values.astype(np.float32)


def checkpoint(folder: Path) -> Path:
    """Write the small MuQ as its authors' code writes it, and return the folder."""
    from safetensors.numpy import save_file

    folder.mkdir()
    with np.load(FILE) as reference:
        (folder / "config.json").write_text(str(reference["config"]))
        shapes = json.loads(str(reference["shapes"]))
    save_file({name: weights(name, tuple(shape)) for name, shape in shapes.items()}, folder / "model.safetensors")
    return folder


def main() -> None:
    """Compute and write."""
    import torch
    from muq import MuQ, MuQConfig

    network = MuQ(MuQConfig(**CONFIG)).eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict({name: torch.from_numpy(weights(name, shape)) for name, shape in shapes.items()})
    samples = torch.from_numpy(clip())[None]
    with torch.no_grad():
        states = torch.stack(network(samples).hidden_states)[:, 0]
        mel = network.model.normalize(network.model.preprocessing(samples, ["melspec_2048"]))["melspec_2048"][0]
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        config = Path(folder, "config.json").read_text()
    np.savez_compressed(FILE, states=states, mel=mel[:, ::8], shapes=json.dumps(shapes), config=config)


if __name__ == "__main__":
    main()
