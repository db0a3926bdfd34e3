"""What `tarkib export` writes, read back by the libraries that it is written for."""

import resource
import shutil
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path

import datasets
import pytest
import webdataset
import yaml

from tarkib import tables
from tarkib.cli import main
from tarkib.errors import TarkibError
from tarkib.export import FORMATS, card, export, source
from tarkib.vocabulary import INSTRUMENTS

TABLES = {"mixtures": tables.MIXTURES, "slices": tables.SLICES}

each_format = pytest.mark.parametrize("to", FORMATS)
each_kind = pytest.mark.parametrize("kind", TABLES)


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


Content = dict[str, dict[str, tuple[bytes, dict]]]
"""By split and id: the FLAC file, and the metadata."""


def expected(folder: Path) -> Content:
    """What an export must hold, straight from the tables."""
    kind = folder.name
    components = tables.COMPONENTS.read(folder / "components.parquet") if kind == "mixtures" else []
    content: Content = {"train": {}, "validation": {}}
    for row in TABLES[kind].read(folder / f"{kind}.parquet"):
        shard, offset, size = (row.pop(name) for name in ("shard", "offset", "size"))
        clip_id = row[f"{kind[:-1]}_id"]
        row["labels"] = [INSTRUMENTS.index(name) for name in row.get("instruments") or [row["instrument"]]]
        if kind == "mixtures":
            own = (dict(part) for part in components if part["mixture_id"] == clip_id)
            row["components"] = [part for part in own if part.pop("mixture_id")]
        content[row["split"]][clip_id] = (folder / shard).read_bytes()[offset:][:size], row
    return content


def loaded(out: Path) -> Content:
    """What `datasets` loads, by the card."""
    content: Content = {}
    for split, clips in datasets.load_dataset(str(out)).items():
        column = "flac" if "flac" in clips.features else "audio"
        content[split] = {}
        for row in clips.cast_column(column, datasets.Audio(decode=False)):
            sound = row.pop(column)
            metadata = row.get("json", row)
            flac = sound["bytes"] or Path(sound["path"]).read_bytes()
            content[split][next(iter(metadata.values()))] = flac, metadata
    return content


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def change(table: tables.Table, file: Path, changed: Callable[[dict], dict | None]) -> None:
    """Write a table again with each row changed, or left out where that gives None."""
    table.write(file, filter(None, map(changed, table.read(file))))


@pytest.fixture
def folder(own_mixtures: Path) -> Callable[[str], Path]:
    return lambda kind: own_mixtures.parent / kind


@each_kind
@each_format
def test_what_comes_out_is_what_is_trained_on(folder, tmp_path, to, kind):
    written = export(folder(kind), to, tmp_path / "out")
    content = expected(folder(kind))
    assert written.clips == sum(map(len, content.values()))
    # The order of the table, too: it is the order of training without a shuffle.
    assert {split: list(clips.items()) for split, clips in loaded(tmp_path / "out").items()} == {
        split: list(clips.items()) for split, clips in content.items()
    }
    read = eval(written.loading, {"datasets": datasets, "webdataset": webdataset})
    if to == "webdataset":
        assert list(read) == list(content["train"].values())
        types_ = datasets.load_dataset(str(tmp_path / "out"))["train"].features["json"]
    else:
        types_ = read["train"].features
        assert types_ == read["validation"].features
        assert types_["audio"].sampling_rate == 24_000
    assert types_["labels"].feature.names == list(INSTRUMENTS)
    assert types_["dastgah"] == datasets.Value("string")
    if kind == "mixtures":
        assert types_["target_bpm"] == datasets.Value("float64")


def test_files_and_shards_are_split_by_number(folder, tmp_path):
    for to in FORMATS:
        export(folder("mixtures"), to, tmp_path / "out" / to)
    written = files(tmp_path / "out")
    assert written.keys() >= {
        "audiofolder/train/00000/train-000002.flac",
        "audiofolder/train/00001/train-000003.flac",
        "audiofolder/train/metadata.parquet",
        "webdataset/train-00002.tar",
        "webdataset/validation-00000.tar",
        "parquet/data/train-00000-of-00003.parquet",
        "parquet/data/validation-00000-of-00001.parquet",
    }
    assert len(written) == (10 + 2) + 4 + 4 + 3


@each_format
def test_a_column_may_be_null_throughout_a_split(folder, tmp_path, to):
    change(
        tables.MIXTURES,
        folder("mixtures") / "mixtures.parquet",
        lambda row: row | {"room_wet_db": None} | ({"target_bpm": None} if row["split"] == "validation" else {}),
    )
    export(folder("mixtures"), to, tmp_path / "out")
    assert loaded(tmp_path / "out") == expected(folder("mixtures"))


@each_format
def test_equal_data_give_equal_bytes(folder, tmp_path, to):
    for name in ("one", "two"):
        export(folder("mixtures"), to, tmp_path / name)
    assert files(tmp_path / "one") == files(tmp_path / "two") != {}


def test_the_card_says_what_it_is(folder, tmp_path):
    export(folder("mixtures"), "parquet", tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(text.split("---")[1])
    assert [file["split"] for file in head["configs"][0]["data_files"]] == ["train", "validation"]
    for line in (
        "10 mixtures of solo recordings",
        "| clips | 8 | 2 |",
        "| with ney | 4 | 1 |",
        "| with kamancheh | 0 | 0 |",
        "| mode `dastgah+bpm` | 8 | 2 |",
        "licences of the recordings themselves apply to all that is made from them",
    ):
        assert line in text
    assert str(tmp_path) not in text


def test_every_column_has_a_meaning():
    parts = {f"components.{name}" for name in tables.COMPONENTS.schema.names if name != "mixture_id"}
    columns = {*tables.MIXTURES.schema.names, *tables.SLICES.schema.names, "labels", "components"}
    assert set(card.meanings()) == parts | columns - {"shard", "offset", "size"}


def test_the_command_reports_what_it_wrote_and_replaces_nothing_unasked(folder, tmp_path, capsys):
    dataset, out = folder("slices"), tmp_path / "out"
    assert main(["export", str(dataset), "--to", "parquet", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{out}: 8 clips, ")
    assert printed.out.endswith(f"load it with: datasets.load_dataset('{out}')\n")
    assert "clips: 100 %" in printed.err
    assert main(["export", str(dataset), "--to", "parquet", str(out)]) == 1
    assert "is not empty; give another folder, or --overwrite" in capsys.readouterr().err
    assert main(["export", str(dataset), "--to", "webdataset", str(out), "--overwrite"]) == 0
    shards = [f"train-0000{k}.tar" for k in (0, 1)] + [f"validation-0000{k}.tar" for k in (0, 1)]
    assert sorted(path.name for path in out.iterdir()) == ["README.md", *shards]
    (tmp_path / "empty").mkdir()
    assert export(dataset, "webdataset", tmp_path / "empty").clips == 8
    with pytest.raises(TarkibError, match=r"README\.md: is a file; give a folder"):
        export(dataset, "webdataset", out / "README.md", overwrite=True)


@pytest.mark.parametrize("out", [".", "new/er", "../..", "../link"])
def test_the_data_set_itself_is_never_touched(folder, out):
    dataset = folder("slices")
    (dataset.parent / "link").symlink_to(dataset)
    before = files(dataset)
    with pytest.raises(TarkibError, match="data set"):
        export(dataset, "parquet", dataset / out, overwrite=True)
    assert files(dataset) == before


def change_mixtures(**changed: object) -> Callable[[Path], None]:
    return lambda folder: change(tables.MIXTURES, folder / "mixtures.parquet", lambda row: row | changed)


SPOILT = {
    "neither mixtures.parquet nor slices.parquet": shutil.rmtree,
    "components.parquet: not there; run dvc": lambda folder: (folder / "components.parquet").unlink(),
    "shard-00000.tar: No such file or directory; run dvc": lambda folder: (folder / "shard-00000.tar").unlink(),
    "shard-00000.tar: no clip at byte": lambda folder: (folder / "shard-00000.tar").write_bytes(bytes(3_000)),
    "has no rows": lambda folder: tables.MIXTURES.write(folder / "mixtures.parquet", []),
}


@pytest.mark.parametrize("message", SPOILT)
def test_a_data_set_that_cannot_be_used_is_named_and_nothing_left(folder, tmp_path, message, capsys):
    SPOILT[message](folder("mixtures"))
    assert main(["export", str(folder("mixtures")), "--to", "audiofolder", str(tmp_path / "out/new")]) == 1
    assert message in capsys.readouterr().err
    assert not [*tmp_path.glob("out/*")]


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file may hold a whole clip."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@each_format
def test_no_room_leaves_what_was_there(folder, tmp_path, full_disk, to):
    out = tmp_path / "out/new"
    out.mkdir(parents=True)
    (out / "old").write_text("old")
    with pytest.raises(TarkibError, match=f"{out}: .*make room or give another folder"):
        export(folder("mixtures"), to, out, overwrite=True)
    assert files(tmp_path / "out") == {"new/old": b"old"}
