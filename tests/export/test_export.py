"""What `tarkib export` writes, read back by the libraries that it is written for."""

import errno
import io
import json
import resource
import shutil
import sys
import tracemalloc
import types
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
import webdataset
import yaml
from conftest import noise

from tarkib import tables
from tarkib.audio import clips
from tarkib.audio.clips import ClipStore, Place
from tarkib.cli import main
from tarkib.errors import TarkibError
from tarkib.export import FORMATS, card, export, formats, source
from tarkib.vocabulary import INSTRUMENTS

ENSEMBLES = (["tar", "daf"], ["ney"], ["avaz", "santur", "tonbak"], ["piano"], ["setar", "violin"])
KINDS = ("mixtures", "slices")


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    """Caches of `datasets` in a folder of the test, nothing asked of a network, three clips a shard."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(source, "CLIPS_PER_SHARD", 3)
    # Two loaders import this for a name that they use only with samples, and we give them files.
    encoders = types.ModuleType("torchcodec.encoders")
    encoders.AudioEncoder = None
    monkeypatch.setitem(sys.modules, "torchcodec", types.ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.encoders", encoders)


def _places(folder: Path, ids: list[str], seconds: float) -> list[dict]:
    """Noise in two shards; the columns that say where each clip is."""
    folder.mkdir(parents=True)
    half = len(ids) // 2
    places = []
    for shard, some in enumerate((ids[:half], ids[half:])):
        sound = ((name, noise(seconds, seed=ids.index(name))) for name in some)
        places += clips.write_shard(folder / clips.shard_name(shard), sound)
    return [place._asdict() for place in places]


def _mixtures(folder: Path, seconds: float = 0.2, **changed: object) -> Path:
    """Eight mixtures; every second one has a tempo, a dastgah and a room. Validation comes first in the table."""
    names = [*(f"validation-{i:06d}" for i in range(3)), *(f"train-{i:06d}" for i in range(5))]
    rows, components = [], []
    for i, (name, place) in enumerate(zip(names, _places(folder, names, seconds), strict=True)):
        known = i % 2 == 0
        row = {
            "mixture_id": name,
            "split": name.split("-")[0],
            "mode": "dastgah+bpm",
            "instruments": ENSEMBLES[i % 5],
            "target_bpm": 90.0 + i if known else None,
            "dastgah": "rast-panjgah" if known else None,
            "room_rt60_s": 0.5 if known else None,
            "room_wet_db": -12.0 if known else None,
        }
        rows.append({**row, **changed, **place})
        components += [
            {
                "mixture_id": name,
                "slice_id": f"{one}-{i}-0001",
                "instrument": one,
                "dastgah": None if one in ("daf", "tonbak") else "segah",
                "bpm": 88.5 if known else None,
                "offset_s": -0.25,
                "stretch": 1.0,
                "shift_cents": 12.5,
                "gain_db": -3.0,
                "metered": known,
            }
            for one in ENSEMBLES[i % 5]
        ]
    tables.MIXTURES.write(folder / "mixtures.parquet", rows)
    tables.COMPONENTS.write(folder / "components.parquet", components)
    return folder


def _slices(folder: Path, seconds: float = 0.2, count: int = 8) -> Path:
    names = [f"{INSTRUMENTS[i % 10]}-{i:04d}" for i in range(count)]
    rows = [
        {
            "slice_id": name,
            "recording_id": name.split("-")[0],
            "instrument": name.split("-")[0],
            "dastgah": "shur" if i % 2 else None,
            "split": "validation" if i % 3 == 2 else "train",
            "number": i,
            "start_s": 5.0 * i,
            "rms_dbfs": -20.5,
            **place,
        }
        for i, (name, place) in enumerate(zip(names, _places(folder, names, seconds), strict=True))
    ]
    tables.SLICES.write(folder / "slices.parquet", rows)
    return folder


@pytest.fixture
def made(tmp_path) -> Callable[[str], Path]:
    return lambda kind: {"mixtures": _mixtures, "slices": _slices}[kind](tmp_path / "data" / kind)


Told = dict[str, dict[str, tuple[bytes, dict]]]
"""By split and id: the FLAC file, and the metadata."""


def _expected(folder: Path) -> Told:
    """What an export must hold, straight from the tables."""
    kind = folder.name
    rows = (tables.MIXTURES if kind == "mixtures" else tables.SLICES).read(folder / f"{kind}.parquet")
    parts: dict[str, list[dict]] = {}
    if kind == "mixtures":
        for one in tables.COMPONENTS.read(folder / "components.parquet"):
            parts.setdefault(one.pop("mixture_id"), []).append(one)
    told: Told = {"train": {}, "validation": {}}
    for row in rows:
        place = Place(row.pop("shard"), row.pop("offset"), row.pop("size"))
        flac = (folder / place.shard).read_bytes()[place.offset : place.offset + place.size]
        clip_id = next(iter(row.values()))
        row["labels"] = [INSTRUMENTS.index(one) for one in row.get("instruments") or [row["instrument"]]]
        if kind == "mixtures":
            row["components"] = parts[clip_id]
        told[row["split"]][clip_id] = flac, row
    return told


def _by_id(loaded: datasets.DatasetDict) -> Told:
    told: Told = {}
    for split, clips_ in loaded.items():
        told[split] = {}
        for row in clips_.cast_column("audio", datasets.Audio(decode=False)):
            sound = row.pop("audio")
            told[split][next(iter(row.values()))] = sound["bytes"] or Path(sound["path"]).read_bytes(), row
    return told


def _of_audiofolder(out: Path) -> Told:
    return _by_id(datasets.load_dataset("audiofolder", data_dir=str(out)))


def _of_parquet(out: Path) -> Told:
    files = {split: str(out / f"data/{split}-*.parquet") for split in ("train", "validation")}
    return _by_id(datasets.load_dataset("parquet", data_files=files))


def _of_webdataset(out: Path) -> Told:
    told: Told = {}
    for split in ("train", "validation"):
        urls = [str(path) for path in sorted(out.glob(f"{split}-*.tar"))]
        samples = webdataset.WebDataset(urls, shardshuffle=False)
        told[split] = {one["__key__"]: (one["flac"], json.loads(one["json"])) for one in samples}
    return told


READERS = {"audiofolder": _of_audiofolder, "parquet": _of_parquet, "webdataset": _of_webdataset}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("to", FORMATS)
def test_what_comes_out_is_what_is_trained_on(made, tmp_path, to, kind):
    dataset, out = made(kind), tmp_path / "out"
    written = export(dataset, to, out)
    expected = _expected(dataset)
    assert written.clips == sum(map(len, expected.values())) == 8
    told = READERS[to](out)
    assert told == expected
    # The order of the table, too: it is the order of training without a shuffle.
    assert {split: list(rows) for split, rows in told.items()} == {split: list(one) for split, one in expected.items()}
    with ClipStore(dataset) as store:
        table = tables.MIXTURES if kind == "mixtures" else tables.SLICES
        for row in table.read(dataset / f"{kind}.parquet"):
            flac, _ = told[row["split"]][row[table.schema.names[0]]]
            samples, rate = soundfile.read(io.BytesIO(flac), dtype="float32")
            assert rate == 24_000
            np.testing.assert_array_equal(samples, store.read(Place(row["shard"], row["offset"], row["size"])))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("to", ["audiofolder", "parquet"])
def test_the_card_gives_datasets_the_types(made, tmp_path, to, kind):
    dataset = made(kind)
    written = export(dataset, to, tmp_path / "out")
    loaded = eval(written.loading, {"datasets": datasets})
    assert _by_id(loaded) == _expected(dataset)
    types_ = loaded["train"].features
    assert types_ == loaded["validation"].features
    assert types_["audio"].sampling_rate == 24_000
    assert types_["labels"].feature.names == list(INSTRUMENTS)
    assert types_["dastgah"] == datasets.Value("string")
    if kind == "mixtures":
        assert types_["target_bpm"] == datasets.Value("float64")
        assert types_["components"].feature["metered"] == datasets.Value("bool")


@pytest.mark.parametrize("kind", KINDS)
def test_the_shards_of_webdataset_load_by_the_line_and_by_datasets_too(made, tmp_path, kind):
    dataset, out = made(kind), tmp_path / "out"
    written = export(dataset, "webdataset", out)
    expected = _expected(dataset)
    samples = list(eval(written.loading, {"webdataset": webdataset}))
    assert samples == list(expected["train"].values())
    loaded = datasets.load_dataset(str(out))
    assert loaded["train"].features["json"]["labels"].feature.names == list(INSTRUMENTS)
    for split, clips_ in loaded.items():
        rows = clips_.cast_column("flac", datasets.Audio(decode=False))
        told = {row["__key__"]: (row["flac"]["bytes"], row["json"]) for row in rows}
        assert told == expected[split]


def test_files_and_shards_are_split_by_number(made, tmp_path):
    dataset = made("mixtures")
    for to in FORMATS:
        export(dataset, to, tmp_path / to)
    files = {str(path.relative_to(tmp_path)) for to in FORMATS for path in (tmp_path / to).rglob("*") if path.is_file()}
    assert files >= {
        "audiofolder/train/00000/train-000002.flac",
        "audiofolder/train/00001/train-000003.flac",
        "audiofolder/validation/00000/validation-000000.flac",
        "audiofolder/train/metadata.jsonl",
        "webdataset/train-00000.tar",
        "webdataset/train-00001.tar",
        "webdataset/validation-00000.tar",
        "parquet/data/train-00000-of-00002.parquet",
        "parquet/data/train-00001-of-00002.parquet",
        "parquet/data/validation-00000-of-00001.parquet",
    }
    assert len(files) == 8 + 2 + 3 + 3 + 3


@pytest.mark.parametrize("changed", [{"target_bpm": None, "room_rt60_s": None, "room_wet_db": None}, {}])
@pytest.mark.parametrize("to", FORMATS)
def test_columns_that_are_null_all_along_stay_null(tmp_path, to, changed):
    dataset, out = _mixtures(tmp_path / "mixtures", **changed), tmp_path / "out"
    if not changed:
        # In validation alone: JSON would have other types in the two splits, and `datasets` would refuse them.
        rows = tables.MIXTURES.read(dataset / "mixtures.parquet")
        rows = [{**row, "target_bpm": None} if row["split"] == "validation" else row for row in rows]
        tables.MIXTURES.write(dataset / "mixtures.parquet", rows)
    written = export(dataset, to, out)
    assert READERS[to](out) == _expected(dataset)
    if to == "audiofolder":
        assert _by_id(eval(written.loading, {"datasets": datasets})) == _expected(dataset)
        assert (out / "train/metadata.jsonl").exists() == bool(changed)
        assert (out / "train/metadata.parquet").exists() != bool(changed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("to", FORMATS)
def test_equal_data_give_equal_bytes(made, tmp_path, to, kind):
    dataset = made(kind)
    for name in ("one", "two"):
        export(dataset, to, tmp_path / name / "out")
    told = [{p.relative_to(tmp_path / n): p.read_bytes() for p in _files(tmp_path / n)} for n in ("one", "two")]
    assert told[0]
    assert told[0] == told[1]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_card_says_what_it_is(made, tmp_path):
    export(made("mixtures"), "parquet", tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert [one["split"] for one in head["configs"][0]["data_files"]] == ["train", "validation"]
    assert "8 mixtures of solo recordings" in text
    assert "| clips | 5 | 3 |" in text
    assert "| with ney | 1 | 1 |" in text
    assert "| with kamancheh | 0 | 0 |" in text
    assert "| mode `dastgah+bpm` | 5 | 3 |" in text
    assert "licences of the recordings themselves apply to all that is made from them" in text
    assert str(tmp_path) not in text


def test_every_column_has_a_meaning():
    fields = {f"components.{name}" for name in tables.COMPONENTS.schema.names if name != "mixture_id"}
    columns = {*tables.MIXTURES.schema.names, *tables.SLICES.schema.names, "labels", "components"}
    assert set(card.meanings()) == fields | columns - {"shard", "offset", "size"}


def test_the_command_tells_what_it_wrote(made, tmp_path, capsys):
    dataset, out = made("slices"), tmp_path / "out"
    assert main(["export", str(dataset), "--to", "parquet", str(out)]) == 0
    said = capsys.readouterr()
    assert f"{out}: 8 clips, 0.1 MiB\nload it with: datasets.load_dataset('{out}')\n" == said.out
    assert "clips: 8 of 8" in said.err
    assert main(["export", str(dataset), "--to", "parquet", str(out)]) == 1
    assert "is not empty; give another folder, or --overwrite" in capsys.readouterr().err
    (out / "old").touch()
    assert main(["export", str(dataset), "--to", "webdataset", str(out), "--overwrite"]) == 0
    shards = ["train-00000.tar", "train-00001.tar", "validation-00000.tar"]
    assert sorted(path.name for path in out.iterdir()) == ["README.md", *shards]
    with pytest.raises(SystemExit) as ended:
        main(["export", str(dataset), "--to", "wav", str(out)])
    assert ended.value.code == 2


def test_an_empty_folder_is_free_and_a_file_is_not(made, tmp_path):
    dataset = made("slices")
    (tmp_path / "empty").mkdir()
    assert export(dataset, "webdataset", tmp_path / "empty").clips == 8
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TarkibError, match="file: is a file; give a folder"):
        export(dataset, "webdataset", tmp_path / "file", overwrite=True)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("out", [".", "new", "new/er", "..", "../..", "../link"])
def test_the_data_set_itself_is_never_touched(made, tmp_path, out):
    dataset = made("slices")
    (dataset.parent / "link").symlink_to(dataset)
    before = {path: path.read_bytes() for path in _files(dataset)}
    with pytest.raises(TarkibError, match="data set"):
        export(dataset, "parquet", dataset / out, overwrite=True)
    assert {path: path.read_bytes() for path in _files(dataset)} == before


def _changed(table: tables.Table, file: Path, change: Callable[[list[dict]], object]) -> None:
    rows = table.read(file)
    change(rows)
    table.write(file, rows)


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(3_000)


SPOILT = {
    "has neither": shutil.rmtree,
    "neither mixtures.parquet nor slices.parquet": lambda folder: (folder / "mixtures.parquet").unlink(),
    "components.parquet: not there; run dvc": lambda folder: (folder / "components.parquet").unlink(),
    "mixtures.parquet: is not a table of mixtures": lambda folder: (folder / "components.parquet").replace(
        folder / "mixtures.parquet"
    ),
    "shard-00001.tar is missing; run dvc": lambda folder: (folder / "shard-00001.tar").unlink(),
    "shard-00001.tar: no clip at byte": lambda folder: _cut(folder / "shard-00001.tar"),
    "has no rows": lambda folder: (
        tables.MIXTURES.write(folder / "mixtures.parquet", []),
        tables.COMPONENTS.write(folder / "components.parquet", []),
    ),
    "mixture 'other' is not in mixtures.parquet": lambda folder: _changed(
        tables.COMPONENTS, folder / "components.parquet", lambda rows: rows[0].update(mixture_id="other")
    ),
    "components of mixture 'validation-000000' are not its instruments": lambda folder: _changed(
        tables.COMPONENTS, folder / "components.parquet", lambda rows: rows.pop(0)
    ),
    "'../up' cannot be part of a file name": lambda folder: (
        _changed(tables.MIXTURES, folder / "mixtures.parquet", lambda rows: rows[0].update(mixture_id="../up")),
        _changed(
            tables.COMPONENTS,
            folder / "components.parquet",
            lambda rows: [one.update(mixture_id="../up") for one in rows if one["mixture_id"] == "validation-000000"],
        ),
    ),
}


@pytest.mark.parametrize("message", SPOILT)
def test_a_data_set_that_cannot_be_used_is_told_and_nothing_left(made, tmp_path, message, capsys):
    dataset = made("mixtures")
    SPOILT[message](dataset)
    assert main(["export", str(dataset), "--to", "audiofolder", str(tmp_path / "out/new")]) == 1
    assert message in capsys.readouterr().err
    assert not [*tmp_path.glob("out/*")]


def test_an_id_that_stands_there_twice_is_told(made, tmp_path):
    dataset = made("slices")
    _changed(tables.SLICES, dataset / "slices.parquet", lambda rows: rows[1].update(slice_id=rows[0]["slice_id"]))
    with pytest.raises(TarkibError, match=r"slices.parquet: 'ney-0000' occurs 2 times"):
        export(dataset, "parquet", tmp_path / "out")


def test_an_instrument_that_is_none_of_the_ten_is_told(made, tmp_path):
    dataset = made("slices")
    _changed(tables.SLICES, dataset / "slices.parquet", lambda rows: rows[1].update(instrument="oud"))
    with pytest.raises(TarkibError, match="tar-0001: 'oud' is not one of the ten instruments"):
        export(dataset, "parquet", tmp_path / "out")


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("to", FORMATS)
def test_no_room_leaves_nothing_half(made, tmp_path, capsys, to, old):
    dataset, out = made("mixtures"), tmp_path / "out/new"
    if old:
        out.mkdir(parents=True)
        (out / "old").write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))  # less than one clip
    try:
        code = main(["export", str(dataset), "--to", to, str(out), "--overwrite"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    assert f"error: {out}: " in (said := capsys.readouterr().err)
    assert "make room or give another folder" in said
    assert [path.name for path in tmp_path.glob("out/**/*")] == (["new", "old"] if old else [])


def test_a_disk_that_fills_up_midway_leaves_nothing(made, tmp_path, monkeypatch):
    dataset, out = made("mixtures"), tmp_path / "out/new"
    add, times = formats._add, iter(range(7))

    def filling(*arguments: object) -> None:
        if next(times) == 6:
            assert [*tmp_path.glob("out/*/*")]
            raise OSError(errno.ENOSPC, "No space left on device")
        add(*arguments)

    monkeypatch.setattr(formats, "_add", filling)
    with pytest.raises(TarkibError, match="new: No space left on device; nothing was written"):
        export(dataset, "webdataset", out)
    assert not [*tmp_path.glob("out/*")]


@pytest.mark.parametrize("to", FORMATS)
def test_memory_does_not_grow_with_the_clips(tmp_path, monkeypatch, to):
    monkeypatch.setattr(source, "CLIPS_PER_SHARD", 100)
    monkeypatch.setattr(formats, "_ROW_GROUP", 5)
    dataset = _slices(tmp_path / "slices", seconds=2.0, count=50)
    tracemalloc.start()
    export(dataset, to, tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    sound = sum(path.stat().st_size for path in dataset.glob("*.tar"))
    assert peak < sound / 4
