"""The formats: each a function that writes a source's clips into a folder.

All take the source, its clips with their FLAC files in the order of `Source.splits`, and the folder to fill; none holds
more than a shard of metadata in memory.
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
from tarkib.export.source import Clip, Source

Sound = tuple[str, Clip, bytes]
"""A clip: its split, its metadata, its FLAC file."""

_ROW_GROUP = 100  # clips, some 10 MiB: what a reader of parquet holds at once
_AUDIO = pa.field("audio", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]))


def audiofolder(source: Source, sounds: Iterable[Sound], folder: Path) -> None:
    """Write ``<split>/00000/<clip_id>.flac``, a thousand a folder, and ``<split>/metadata.jsonl`` (or ``.parquet``)."""
    for (split, shard), group in _shards(sounds):
        target = folder / split / f"{shard:05d}"
        target.mkdir(parents=True)
        for _, clip, flac in group:
            (target / f"{clip.clip_id}.flac").write_bytes(flac)
    as_json = _json_has_one_schema(source)
    schema = pa.schema([pa.field("file_name", pa.string()), *source.schema])
    for split, clips in source.splits.items():
        rows = ({"file_name": f"{clip.shard:05d}/{clip.clip_id}.flac", **clip.metadata} for clip in clips)
        if as_json:
            with (folder / split / "metadata.jsonl").open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(_json(row) + "\n" for row in rows)
        else:
            _write_parquet(folder / split / "metadata.parquet", rows, schema, CLIPS_PER_SHARD)


def _json_has_one_schema(source: Source) -> bool:
    """Whether `datasets` infers the same types from each split's JSON.

    It infers them from the first values of a split, so a column that is null throughout one split and has values in
    another gets two types, and loading fails.
    """
    first, everything = (
        [{path for clip in clips[:most] for path in _filled(clip.metadata)} for clips in source.splits.values()]
        for most in (CLIPS_PER_SHARD, None)
    )
    return all(paths == set().union(*everything) for paths in first)


def _filled(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the paths to the values that are not null in nested dicts and lists."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _filled(inner, (*path, name))
    elif isinstance(value, list):
        for inner in value:
            yield from _filled(inner, path)
    elif value is not None:
        yield path


def webdataset(source: Source, sounds: Iterable[Sound], folder: Path) -> None:
    """Write ``<split>-00000.tar`` and so on, a thousand clips each: ``<clip_id>.flac`` and ``<clip_id>.json``."""
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
    """Write ``data/<split>-00000-of-00002.parquet`` and so on, a thousand clips each, with a column ``audio``."""
    (folder / "data").mkdir()
    schema = pa.schema([_AUDIO, *source.schema])
    for (split, shard), group in _shards(sounds):
        rows = ({"audio": {"bytes": flac, "path": f"{clip.clip_id}.flac"}, **clip.metadata} for _, clip, flac in group)
        shards = source.splits[split][-1].shard + 1
        _write_parquet(folder / f"data/{split}-{shard:05d}-of-{shards:05d}.parquet", rows, schema, _ROW_GROUP)


def _json(row: dict) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def _write_parquet(file: Path, rows: Iterator[dict], schema: pa.Schema, group_size: int) -> None:
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=False) as writer:
        while group := list(islice(rows, group_size)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _shards(sounds: Iterable[Sound]) -> Iterator[tuple[tuple[str, int], Iterator[Sound]]]:
    return groupby(sounds, key=lambda sound: (sound[0], sound[1].shard))
