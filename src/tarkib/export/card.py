"""The data set's card: a YAML head that gives `datasets` the splits and types, then columns and counts."""

from collections import Counter
from importlib import resources
from typing import Any

import pyarrow as pa

from tarkib.audio import CLIP_SECONDS, SAMPLE_RATE
from tarkib.export.source import Source
from tarkib.runtime import pages, yaml12
from tarkib.vocabulary import INSTRUMENTS

_WHAT = {
    "mixtures": "mixtures of solo recordings of Persian music, for learning which instruments play together",
    "slices": "slices of solo recordings of Persian music, one instrument each",
}
_FILES = {"audiofolder": "{split}/**", "webdataset": "{split}-*.tar", "parquet": "data/{split}-*.parquet"}


def loading(source: Source, to: str, folder: str) -> str:
    """Return the Python expression that loads an export in a folder."""
    if to != "webdataset":
        return f"datasets.load_dataset({folder!r})"
    split = "train" if "train" in source.splits else max(source.splits)
    shards = f"{folder}/{split}-{{00000..{source.splits[split][-1].shard:05d}}}.tar"
    return f"webdataset.WebDataset({shards!r}, shardshuffle=False).decode().to_tuple('flac', 'json')"


def meanings() -> dict[str, str]:
    """Return what each column holds; a field of the components is named ``components.<field>``."""
    return yaml12.read(resources.files("tarkib.export").joinpath("columns.yaml").read_text("utf-8"))


def text(source: Source, to: str) -> str:
    """Return the text of the card, README.md of an export in the format `to`."""
    return (
        pages.environment("tarkib.export", is_html=False)
        .get_template("card.md")
        .render(
            head=yaml12.dump(_head(source, to)),
            source=source,
            what=_WHAT[source.kind],
            to=to,
            seconds=CLIP_SECONDS,
            sample_rate=SAMPLE_RATE,
            loading=loading(source, to, "path/to/this/folder"),
            columns=[item for item in meanings().items() if item[0].partition(".")[0] in source.schema.names],
            instruments=INSTRUMENTS,
            counts=_counts(source),
        )
    )


def _head(source: Source, to: str) -> dict[str, Any]:
    audio = {"name": "flac" if to == "webdataset" else "audio", "dtype": {"audio": {"sampling_rate": SAMPLE_RATE}}}
    features = [audio, *map(_feature, source.schema)]
    if to == "webdataset":
        keys = [{"name": name, "dtype": "string"} for name in ("__key__", "__url__")]
        features = [audio, {"name": "json", "struct": features[1:]}, *keys]
    files = [{"split": split, "path": _FILES[to].format(split=split)} for split in source.splits]
    config: dict[str, Any] = {"config_name": "default", "data_files": files}
    types = {"features": features}
    return {
        "pretty_name": f"Tarkib: {source.kind}",
        "license": "other",
        "task_categories": ["audio-classification"],
        "tags": ["music", "persian-music", "instrument-recognition"],
        "configs": [config | types if to == "audiofolder" else config],
        **({} if to == "audiofolder" else {"dataset_info": {"config_name": "default", **types}}),
    }


def _feature(field: pa.Field) -> dict[str, Any]:
    """Describe a column as `datasets` reads it in a card, before and after its version 4.0."""
    if field.name == "labels":
        names = {str(index): name for index, name in enumerate(INSTRUMENTS)}
        return {"name": "labels", "sequence": {"class_label": {"names": names}}}
    if not pa.types.is_list(field.type):
        return {"name": field.name, "dtype": str(field.type).replace("double", "float64")}
    inner = field.type.value_type
    if pa.types.is_struct(inner):
        return {"name": field.name, "list": [_feature(part) for part in inner]}
    return {"name": field.name, "sequence": str(inner)}


def _counts(source: Source) -> list[tuple[str, list[int]]]:
    """Return a row of counts, one a split, for the clips, each instrument and each mode."""
    splits = source.splits.values()
    rows = [("clips", [len(clips) for clips in splits])]
    for label, name in enumerate(INSTRUMENTS):
        rows.append((f"with {name}", [sum(label in clip.metadata["labels"] for clip in clips) for clips in splits]))
    modes = [Counter(clip.metadata.get("mode") for clip in clips) for clips in splits]
    for mode in sorted({mode for counts in modes for mode in counts if mode}):
        rows.append((f"mode `{mode}`", [counts[mode] for counts in modes]))
    return rows
