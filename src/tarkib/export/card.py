"""The data set's card: a head in YAML by which `datasets` finds splits and types, then what it is, in numbers."""

from collections import Counter
from typing import Any

import pyarrow as pa

from tarkib.audio import CLIP_SECONDS, SAMPLE_RATE
from tarkib.export import features
from tarkib.export.source import Source
from tarkib.runtime import yaml12
from tarkib.vocabulary import INSTRUMENTS

MEANINGS = {
    "mixture_id": "unique, `<split>-<number>`",
    "slice_id": "unique, `<recording_id>-<number of the five seconds>`",
    "recording_id": "of the solo recording: its instrument and the beginning of its SHA-256",
    "number": "of the slice in its recording, from 0, one for each five seconds",
    "split": "`train` or `validation`; no recording is in both",
    "mode": "what the components share: `random`, `bpm` (one tempo), `dastgah` (one dastgah) or `dastgah+bpm` (both)",
    "instruments": "which sound, in the order of the components",
    "instrument": "which sounds",
    "labels": "the same as classes, indices in the list of the ten below",
    "target_bpm": "tempo that the metered components were brought to, modulo octave, in beats a minute; or null",
    "dastgah": "what all pitched components of a mixture share where its mode says so; the label of a slice; or null",
    "room_rt60_s": "time in which the tail of the room falls by 60 dB, in seconds; null without a room",
    "room_wet_db": "energy of that tail relative to the direct sound, in dB; null without a room",
    "start_s": "where the slice begins in its recording, in seconds",
    "rms_dbfs": "level, in dB relative to full scale",
    "components": "what was mixed, a list of structs, in the order of the instruments:",
}
"""What the columns hold."""

COMPONENT_MEANINGS = {
    "slice_id": "the slice of a solo recording",
    "recording_id": "the recording it was cut from",
    "instrument": "which plays it",
    "dastgah": "null for percussion and where it is not known",
    "bpm": "tempo as recorded, in beats a minute; null where it is not trusted",
    "offset_s": "where the component begins in the recording, in seconds of it from the slice's start",
    "stretch": "how many times as fast it is played; 1 where it was left alone",
    "shift_cents": "how far its pitch was shifted, in cents",
    "gain_db": "level relative to the other components' common one, in dB",
    "metered": "whether its tempo is trusted; what is not metered is never stretched",
}
"""What the fields of a component hold."""

_WHAT = {
    "mixtures": "mixtures of solo recordings of Persian music, made to teach which instruments sound together",
    "slices": "slices of solo recordings of Persian music, one instrument each",
}

_FILES = {
    "audiofolder": "{split}/**",
    "webdataset": "{split}-*.tar",
    "parquet": "data/{split}-*.parquet",
}


def loading(source: Source, to: str, folder: str) -> str:
    """The line of Python that loads an export in that folder."""
    if to != "webdataset":
        return f"datasets.load_dataset({folder!r})"
    split, clips = max(source.splits.items(), key=lambda item: (item[0] == "train", item[0]))
    shards = f"{folder}/{split}-{{00000..{clips[-1].shard:05d}}}.tar"
    return f"webdataset.WebDataset({shards!r}, shardshuffle=False).decode().to_tuple('flac', 'json')"


def write(source: Source, to: str) -> str:
    """Text of the card, README.md of the export."""
    head = yaml12.written(_head(source, to))
    classes = ", ".join(f"{index} {name}" for index, name in enumerate(INSTRUMENTS))
    return f"""---
{head}---

# Tarkib: {source.kind}

{source.clips} {_WHAT[source.kind]}: {CLIP_SECONDS:g} seconds each, mono, {SAMPLE_RATE} Hz, 16 bits, FLAC.
Made with `tarkib export --to {to}`; the FLAC files are bit for bit those that Tarkib trains on.

```python
{_usage(source, to)}
```

## Columns

{_columns(source.schema)}

The classes: {classes}.
For a target of ten zeros and ones: `numpy.isin(numpy.arange({len(INSTRUMENTS)}), labels)`.

## Counts

{_counts(source)}

## Licence

The licences of the recordings themselves apply to all that is made from them, this data set included. Whoever passes \
it on must have the right to pass on the recordings.
"""


def _head(source: Source, to: str) -> dict[str, Any]:
    described = features.card(pa.schema([features.AUDIO, *source.schema]))
    files = [{"split": split, "path": _FILES[to].format(split=split)} for split in source.splits]
    config: dict[str, Any] = {"config_name": "default", "data_files": files}
    head: dict[str, Any] = {
        "pretty_name": f"Tarkib: {source.kind}",
        "license": "other",
        "task_categories": ["audio-classification"],
        "tags": ["music", "persian-music", "instrument-recognition"],
        "configs": [config],
    }
    if to == "audiofolder":
        # JSON has no types of its own.
        config["features"] = described
    elif to == "webdataset":
        sample = [
            {"name": "flac", **{key: value for key, value in described[0].items() if key != "name"}},
            {"name": "json", "struct": described[1:]},
            {"name": "__key__", "dtype": "string"},
            {"name": "__url__", "dtype": "string"},
        ]
        head["dataset_info"] = {"config_name": "default", "features": sample}
    return head


def _usage(source: Source, to: str) -> str:
    folder = "path/to/this/folder"
    if to == "webdataset":
        return f"""import io, soundfile, webdataset

clips = {loading(source, to, folder)}
flac, columns = next(iter(clips))
samples, rate = soundfile.read(io.BytesIO(flac))"""
    # The loader of folders checks for torchcodec even where nothing is decoded; that of parquet does not.
    needs = (
        "Takes torchcodec. For"
        if to == "audiofolder"
        else "Decoding the column audio takes torchcodec. Without it, for"
    )
    return f"""import datasets

clips = {loading(source, to, folder)}
# {needs} the FLAC files as they are:
clips = clips.cast_column("audio", datasets.Audio(decode=False))"""


def _columns(schema: pa.Schema) -> str:
    lines = ["- `audio`: the sound"]
    for field in schema:
        lines.append(f"- `{field.name}`: {MEANINGS[field.name]}")
        if field.name == "components":
            lines += [f"  - `{one.name}`: {COMPONENT_MEANINGS[one.name]}" for one in field.type.value_type]
    return "\n".join(lines)


def _counts(source: Source) -> str:
    splits = list(source.splits)
    rows = {"clips": {split: len(clips) for split, clips in source.splits.items()}}
    for split, clips in source.splits.items():
        heard = Counter(INSTRUMENTS[label] for clip in clips for label in clip.metadata["labels"])
        modes = Counter(clip.metadata["mode"] for clip in clips if "mode" in clip.metadata)
        for name in INSTRUMENTS:
            rows.setdefault(f"with {name}", {})[split] = heard[name]
        for name, count in modes.items():
            rows.setdefault(f"mode `{name}`", {})[split] = count
    lines = [f"| | {' | '.join(splits)} |", "|---" * (len(splits) + 1) + "|"]
    lines += [
        f"| {name} | {' | '.join(str(counts.get(split, 0)) for split in splits)} |" for name, counts in rows.items()
    ]
    return "\n".join(lines)
