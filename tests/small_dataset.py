"""A data set that is made in a second: tones as annotated slices, and ten mixtures rendered of them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tarkib import tables
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE, clips
from tarkib.mixing import rendering
from tarkib.vocabulary import PERCUSSION

_TONES = {"tar": 220.0, "ney": 523.0, "tonbak": 90.0, "avaz": 330.0}
_MIXTURES = (("tar",), ("tar", "ney"), ("ney", "tonbak", "avaz"), ("tonbak",), ("tar", "avaz"), ("ney", "tonbak"))


def write_dataset(folder: Path) -> Path:
    """Write slices, annotations and mixtures, eight of them for training; returns the mixtures' folder."""
    slices, mixtures = folder / "slices", folder / "mixtures"
    rows = [_slice(name, number) for name in _TONES for number in (0, 1)]
    rows = _stored(slices, rows, (_tone(_TONES[row["instrument"]], seed) for seed, row in enumerate(rows)))
    tables.SLICES.write(slices / "slices.parquet", rows)
    tables.ANNOTATIONS.write(folder / "annotations.parquet", map(_annotation, rows))
    recipes = [_recipe(index) for index in range(10)]
    with clips.ClipStore(slices) as store:
        renderer = rendering.Renderer(store, rendering.places(rows))
        mixed = _stored(mixtures, [row for row, _ in recipes], (renderer.mixture(*recipe) for recipe in recipes))
    tables.MIXTURES.write(mixtures / "mixtures.parquet", mixed)
    tables.COMPONENTS.write(mixtures / "components.parquet", [part for _, parts in recipes for part in parts])
    return mixtures


def _stored(folder: Path, rows: list[dict], sounds: Iterable[np.ndarray]) -> list[dict]:
    """Write a shard; returns the rows with their places."""
    folder.mkdir(parents=True)
    places = clips.write_shard(folder / clips.shard_name(0), zip(map(str, range(len(rows))), sounds, strict=True))
    return [{**row, **place._asdict()} for row, place in zip(rows, places, strict=True)]


def _tone(hz: float, seed: int) -> np.ndarray:
    time = np.arange(CLIP_SAMPLES) / SAMPLE_RATE
    tone = sum(np.sin(2 * np.pi * hz * k * time) / k for k in (1, 2, 3))
    noise = np.random.default_rng(seed).standard_normal(CLIP_SAMPLES)
    return (0.1 * tone * np.exp(-4 * (time % 0.5)) + 0.002 * noise).astype(np.float32)


def _dastgah(instrument: str) -> str | None:
    return None if instrument in PERCUSSION else "shur"


def _origin(instrument: str) -> str:
    return "demo" if instrument == "avaz" else "own"


def _slice(instrument: str, number: int) -> dict:
    return {
        "slice_id": f"{instrument}-abc-{number:04d}",
        "recording_id": f"{instrument}-abc",
        "origin": _origin(instrument),
        "number": number,
        "instrument": instrument,
        "dastgah": _dastgah(instrument),
        "avaz": "dashti" if instrument == "avaz" else None,
        "split": "validation" if number else "train",
        "start_s": 5.0 * number,
        "rms_dbfs": -21.5,
    }


def _annotation(row: dict) -> dict:
    """A tempo for the first slice of each recording, a tonic for the pitched ones."""
    tempo = {"bpm": 96.0, "bpm_confidence": 0.91, "bpm_source": "estimate", "bpm_octaves": [48.0], "beat_s": 0.1}
    free = {"bpm": None, "bpm_confidence": 0.4, "bpm_source": "none", "bpm_octaves": [], "beat_s": None}
    tonic = {"tonic_hz": 220.0, "tonic_confidence": 0.8, "tonic_source": "estimate"}
    dastgah = {"dastgah": row["dastgah"], "dastgah_confidence": 1.0, "dastgah_source": "label"}
    if row["dastgah"] is None:
        tonic = {"tonic_hz": None, "tonic_confidence": 0.0, "tonic_source": "none"}
        dastgah = {"dastgah": None, "dastgah_confidence": 0.0, "dastgah_source": "none"}
    family = {"family": None, "family_confidence": 0.0}
    return {"slice_id": row["slice_id"], **(free if row["number"] else tempo), **tonic, **dastgah, **family}


def _recipe(index: int) -> tuple[dict, list[dict]]:
    """A mixture and its components: every second mixture has a room, every third component is unmetered."""
    names, split = _MIXTURES[index % len(_MIXTURES)], "validation" if index >= 8 else "train"
    mixture_id = f"{split}-{index:06d}"
    mixture = {
        "mixture_id": mixture_id,
        "split": split,
        "mode": "dastgah+bpm",
        "instruments": list(names),
        "target_bpm": 100.0,
        "dastgah": None if names == ("tonbak",) else "shur",
        "room_rt60_s": 0.5 if index % 2 else None,
        "room_wet_db": -12.0 if index % 2 else None,
    }
    components = [
        {
            "mixture_id": mixture_id,
            "slice_id": f"{name}-abc-{int(split == 'validation'):04d}",
            "recording_id": f"{name}-abc",
            "origin": _origin(name),
            "instrument": name,
            "dastgah": _dastgah(name),
            "bpm": None if k == 2 else 80.0,
            "offset_s": 0.25 if k == 1 else 0.0,
            "stretch": 1.0 if k == 2 else 1.25,
            "shift_cents": -50.0 if k == 1 and _dastgah(name) else 0.0,
            "gain_db": 2.0 - k,
            "metered": k != 2,
        }
        for k, name in enumerate(names)
    ]
    return mixture, components
