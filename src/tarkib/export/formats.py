"""The formats: each a function that writes a source's clips into a folder, holding one shard of metadata at most.

All take the source, its clips paired with their FLAC files in the order of `Source.splits`, and the folder to fill.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tarkib.audio.clips import CLIPS_PER_SHARD
from tarkib.export import features
from tarkib.export.source import Clip, Source

Sound = tuple[str, Clip, bytes]
"""A clip: its split, what is known of it, its FLAC file."""

_ROW_GROUP = 100  # clips, some 10 MiB: what a reader of parquet holds at once


def audiofolder(source: Source, sounds: Iterable[Sound], folder: Path) -> None:
    """``<split>/00000/<clip_id>.flac``, a thousand a folder, and ``<split>/metadata.jsonl`` (or ``.parquet``)."""
    for (split, shard), group in _shards(sounds):
        target = folder / split / f"{shard:05d}"
        target.mkdir(parents=True)
        for _, clip, flac in group:
            (target / f"{clip.clip_id}.flac").write_bytes(flac)
    write = _write_jsonl if json_tells_types(source) else _write_parquet
    for split, clips in source.splits.items():
        rows = ({"file_name": f"{clip.shard:05d}/{clip.clip_id}.flac", **clip.metadata} for clip in clips)
        write(folder / split, rows, source.schema)


def json_tells_types(source: Source) -> bool:
    """Whether `datasets` would find the same types in each split's JSON.

    It takes the types from the values at the beginning of a split, so a column that is null all along in one split and
    has values in another has two types there, and it refuses the whole.
    """
    beginnings = [
        {path for clip in clips[:CLIPS_PER_SHARD] for path in _filled(clip.metadata)}
        for clips in source.splits.values()
    ]
    anywhere = {path for clips in source.splits.values() for clip in clips for path in _filled(clip.metadata)}
    return all(beginning == anywhere for beginning in beginnings)


def _filled(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Paths to what is not null in nested dicts and lists."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _filled(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from _filled(inner, path)
    elif value is not None:
        yield path


def _write_jsonl(folder: Path, rows: Iterable[dict], _: pa.Schema) -> None:
    with (folder / "metadata.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(_json(row) + "\n")


def _write_parquet(folder: Path, rows: Iterable[dict], schema: pa.Schema) -> None:
    named = features.described(pa.schema([pa.field("file_name", pa.string()), *schema]))
    _write_rows(folder / "metadata.parquet", rows, named, CLIPS_PER_SHARD)


def _json(row: dict) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def webdataset(source: Source, sounds: Iterable[Sound], folder: Path) -> None:
    """``<split>-00000.tar`` and so on, a thousand clips each, members ``<clip_id>.flac`` and ``<clip_id>.json``."""
    for (split, shard), group in _shards(sounds):
        with tarfile.open(folder / f"{split}-{shard:05d}.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            for _, clip, flac in group:
                _add(tar, f"{clip.clip_id}.flac", flac)
                _add(tar, f"{clip.clip_id}.json", _json(clip.metadata).encode())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # no time, no owner: equal clips give equal bytes
    member.size = len(content)
    member.mode = 0o644
    tar.addfile(member, io.BytesIO(content))


def parquet(source: Source, sounds: Iterable[Sound], folder: Path) -> None:
    """``data/<split>-00000-of-00002.parquet`` and so on, a thousand clips each, the sound in the column ``audio``."""
    schema = features.described(pa.schema([features.AUDIO, *source.schema]))
    (folder / "data").mkdir()
    for (split, shard), group in _shards(sounds):
        rows = ({"audio": {"bytes": flac, "path": f"{clip.clip_id}.flac"}, **clip.metadata} for _, clip, flac in group)
        of = source.splits[split][-1].shard + 1
        _write_rows(folder / f"data/{split}-{shard:05d}-of-{of:05d}.parquet", rows, schema, _ROW_GROUP)


def _write_rows(file: Path, rows: Iterable[dict], schema: pa.Schema, at_once: int) -> None:
    rows = iter(rows)
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=False) as writer:
        while some := list(islice(rows, at_once)):
            writer.write_table(pa.Table.from_pylist(some, schema=schema))


def _shards(sounds: Iterable[Sound]) -> Iterator[tuple[tuple[str, int], Iterator[Sound]]]:
    """Neighbours that go to the same shard of the same split."""
    return groupby(sounds, key=lambda sound: (sound[0], sound[1].shard))
