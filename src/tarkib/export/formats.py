"""The formats: each a function that writes a source's clips, with their FLAC files, into a folder.

The clips come in the order of `Source.splits`; no function holds more than a shard of metadata in memory.
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

Sounds = Iterable[tuple[Clip, bytes]]

_ROW_GROUP = 100  # clips, some 10 MiB: what a reader of parquet holds at once
_AUDIO = pa.field("audio", pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]))


def audiofolder(source: Source, sounds: Sounds, folder: Path) -> None:
    """Write ``<split>/00000/<clip_id>.flac``, a thousand a folder, and ``<split>/metadata.parquet``.

    Not metadata.jsonl: `datasets` infers its types by split, and refuses a column that is null throughout one of them.
    """
    for (split, shard), group in _shards(sounds):
        target = folder / split / f"{shard:05d}"
        target.mkdir(parents=True)
        for clip, flac in group:
            (target / f"{clip.clip_id}.flac").write_bytes(flac)
    schema = pa.schema([pa.field("file_name", pa.string()), *source.schema])
    for split, clips in source.splits.items():
        rows = ({"file_name": f"{clip.shard:05d}/{clip.clip_id}.flac", **clip.metadata} for clip in clips)
        _write_parquet(folder / split / "metadata.parquet", rows, schema, CLIPS_PER_SHARD)


def webdataset(source: Source, sounds: Sounds, folder: Path) -> None:
    """Write ``<split>-00000.tar`` and so on, a thousand clips each: ``<clip_id>.flac`` and ``<clip_id>.json``."""
    for (split, shard), group in _shards(sounds):
        with tarfile.open(folder / f"{split}-{shard:05d}.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            for clip, flac in group:
                metadata = json.dumps(clip.metadata, ensure_ascii=False, allow_nan=False).encode()
                for suffix, content in (("flac", flac), ("json", metadata)):
                    member = tarfile.TarInfo(f"{clip.clip_id}.{suffix}")  # no time, no owner: equal bytes
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def parquet(source: Source, sounds: Sounds, folder: Path) -> None:
    """Write ``data/<split>-00000-of-00002.parquet`` and so on, a thousand clips each, with a column ``audio``."""
    (folder / "data").mkdir()
    schema = pa.schema([_AUDIO, *source.schema])
    for (split, shard), group in _shards(sounds):
        rows = ({"audio": {"bytes": flac, "path": f"{clip.clip_id}.flac"}, **clip.metadata} for clip, flac in group)
        shards = source.splits[split][-1].shard + 1
        _write_parquet(folder / f"data/{split}-{shard:05d}-of-{shards:05d}.parquet", rows, schema, _ROW_GROUP)


def _write_parquet(file: Path, rows: Iterator[dict], schema: pa.Schema, group_size: int) -> None:
    with pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=False) as writer:
        while group := list(islice(rows, group_size)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def _shards(sounds: Sounds) -> Iterator[tuple[tuple[str, int], Iterator[tuple[Clip, bytes]]]]:
    return groupby(sounds, key=lambda sound: (sound[0].metadata["split"], sound[0].shard))
