"""A data set that is made in a second: tones and clicks as slices, and mixtures rendered of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tarkib import tables
from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE, clips
from tarkib.audio.clips import ClipStore
from tarkib.mixing import rendering
from tarkib.vocabulary import PERCUSSION

EVIL = '"><script>alert(1)</script>&'

_TONES = {"tar": 220.0, "ney": 523.0, "tonbak": 90.0, "avaz": 330.0}
_MIXTURES = (("tar",), ("tar", "ney"), ("ney", "tonbak", "avaz"), ("tonbak",), ("tar", "avaz"), ("ney", "tonbak"))


def _sound(hz: float, seed: int) -> np.ndarray:
    time = np.arange(CLIP_SAMPLES) / SAMPLE_RATE
    rng = np.random.default_rng(seed)
    tone = sum(np.sin(2 * np.pi * hz * k * time) / k for k in (1, 2, 3))
    return (0.1 * tone * np.exp(-(time % 0.5) * 4) + 0.002 * rng.standard_normal(CLIP_SAMPLES)).astype(np.float32)


def slice_rows(instruments: dict[str, str]) -> list[dict]:
    """Two slices of one recording of each instrument; `instruments` says what each is called in the table."""
    return [
        {
            "slice_id": f"{called}-abc-{number:04d}",
            "recording_id": f"{called}-abc",
            "number": number,
            "instrument": called,
            "dastgah": None if one in PERCUSSION else "shur",
            "split": "validation" if number else "train",
            "start_s": 5.0 * number,
            "rms_dbfs": -21.5,
        }
        for one, called in instruments.items()
        for number in (0, 1)
    ]


def annotation(row: dict) -> dict:
    """What is annotated of a slice: a tempo for the first of each recording."""
    metered, pitched = row["split"] == "train", row["dastgah"] is not None
    return {
        "slice_id": row["slice_id"],
        "bpm": 96.0 if metered else None,
        "bpm_confidence": 0.91 if metered else 0.4,
        "bpm_source": "estimate" if metered else "none",
        "bpm_octaves": [48.0] if metered else [],
        "beat_s": 0.1 if metered else None,
        "tonic_hz": 220.0 if pitched else None,
        "tonic_confidence": 0.8 if pitched else 0.0,
        "tonic_source": "estimate" if pitched else "none",
        "dastgah": row["dastgah"],
        "dastgah_confidence": 1.0 if pitched else 0.0,
        "dastgah_source": "label" if pitched else "none",
        "family": None,
        "family_confidence": 0.0,
    }


def recipe(index: int, instruments: dict[str, str], mark: str) -> tuple[dict, list[dict]]:
    """A mixture and its components: every second one with a room, every third component unmetered."""
    split, room = ("validation" if index >= 8 else "train"), index % 2 == 1
    names = _MIXTURES[index % len(_MIXTURES)]
    mixture_id = f"{split}-{index:06d}{mark}"
    mixture = {
        "mixture_id": mixture_id,
        "split": split,
        "mode": "dastgah+bpm",
        "instruments": [instruments[one] for one in names],
        "target_bpm": 100.0,
        "dastgah": None if names == ("tonbak",) else "shur",
        "room_rt60_s": 0.5 if room else None,
        "room_wet_db": -12.0 if room else None,
    }
    components = [
        {
            "mixture_id": mixture_id,
            "slice_id": f"{instruments[one]}-abc-{int(split == 'validation'):04d}",
            "recording_id": f"{instruments[one]}-abc",
            "instrument": instruments[one],
            "dastgah": None if one in PERCUSSION else "shur",
            "bpm": None if k == 2 else 80.0,
            "offset_s": 0.25 if k == 1 else 0.0,
            "stretch": 1.0 if k == 2 else 1.25,
            "shift_cents": -50.0 if k == 1 and one not in PERCUSSION else 0.0,
            "gain_db": 2.0 - k,
            "metered": k != 2,
        }
        for k, one in enumerate(names)
    ]
    return mixture, components


def write_dataset(folder: Path, called: dict[str, str] | None = None, mark: str = "") -> Path:
    """Write slices, annotations and ten mixtures; returns the mixtures' folder.

    `called` gives instruments other names in the tables, `mark` goes behind each mixture's id.
    """
    instruments = {one: one for one in _TONES} | (called or {})
    mixtures, slices = folder / "mixtures", folder / "slices"
    mixtures.mkdir(parents=True)
    slices.mkdir()
    rows = slice_rows(instruments)
    tones = [hz for hz in _TONES.values() for _ in (0, 1)]
    sounds = [(f"s{k}", _sound(hz, k)) for k, hz in enumerate(tones)]
    places = list(clips.write_shard(slices / clips.shard_name(0), sounds))
    rows = [{**row, **place._asdict()} for row, place in zip(rows, places, strict=True)]
    tables.SLICES.write(slices / "slices.parquet", rows)
    tables.ANNOTATIONS.write(folder / "annotations.parquet", [annotation(row) for row in rows])
    recipes = [recipe(index, instruments, mark) for index in range(10)]
    with ClipStore(slices) as store:
        renderer = rendering.Renderer(store, rendering.places(rows))
        sounds = [(f"m{k}", renderer.mixture(*one)) for k, one in enumerate(recipes)]
    places = list(clips.write_shard(mixtures / clips.shard_name(0), sounds))
    mixed = [{**row, **place._asdict()} for (row, _), place in zip(recipes, places, strict=True)]
    tables.MIXTURES.write(mixtures / "mixtures.parquet", mixed)
    tables.COMPONENTS.write(mixtures / "components.parquet", [one for _, parts in recipes for one in parts])
    return mixtures


@pytest.fixture(scope="session")
def mixtures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of ten mixtures, eight of them for training, beside the slices; to be read, not to be changed."""
    return write_dataset(tmp_path_factory.mktemp("preview"))


@pytest.fixture
def own_mixtures(tmp_path: Path) -> Callable[..., Path]:
    """Make such a folder for one test alone, which may spoil it."""

    def made(**options: object) -> Path:
        return write_dataset(tmp_path / "data", **options)

    return made
