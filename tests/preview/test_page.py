import base64
import itertools
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tarkib import tables
from tarkib.audio import clips
from tarkib.cli import main
from tarkib.errors import TarkibError
from tarkib.preview import dataset, page
from tarkib.runtime import pages

_VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """The elements of a page with their attributes, and its text; refuses tags that do not close as they opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.open = "", []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        return [a for name, a in self.elements if name == tag and attributes.items() <= a.items()]


def made(folder: Path, count: int = 12) -> Page:
    return Page("".join(page.pieces(dataset.read(folder), count)))


@pytest.fixture(scope="module")
def whole(mixtures) -> Page:
    """The page of all mixtures."""
    return made(mixtures)


def flac(element: dict) -> bytes:
    kind, data = element["src"].split(",")
    assert kind == "data:audio/flac;base64"
    return base64.b64decode(data)


@pytest.mark.slow
def test_some_mixtures_are_shown_evenly_spread_and_all_are_counted(mixtures, whole):
    some = made(mixtures, 4)
    ids = ["train-000000", "train-000003", "train-000006", "validation-000009"]
    assert [article["id"] for article in some.all("article")] == ids
    assert len(some.all("audio")) == 4 + 1 + 1 + 1 + 1
    assert len(whole.all("article")) == len(whole.all("table", role="table")) == 10
    assert len(whole.all("audio")) == 10 + 18
    assert all(player["aria-label"] and player["preload"] == "none" for player in whole.all("audio"))
    assert "tonbak تنبک550 %" in some.text
    before = [re.split(r"All mixtures|\d of the mixtures", shown.text)[0] for shown in (some, whole)]
    assert before[0] == before[1]


def test_the_mixture_is_the_shard_s_file_and_the_components_add_up_to_it(mixtures, whole):
    row = tables.MIXTURES.read(mixtures / "mixtures.parquet")[1]
    mixture, *parts = (flac(player) for player in whole.all("audio") if "train-000001" in player["aria-label"])
    assert mixture == (mixtures / row["shard"]).read_bytes()[row["offset"] :][: row["size"]]
    assert len(parts) == 2
    difference = sum(map(clips.decode, parts)) - clips.decode(mixture)
    assert np.abs(difference).max() < 1e-4


def test_the_page_shows_what_the_tables_hold(whole):
    texts = """10 mixtures, mode dastgah+bpm|8 train, 2 validation|One dastgah a mixture, one tempo|All mixtures|نی
shur شور|100.0 BPM|80.0 → 100.0|×1.250|−50 ¢|+2.0 dB|−12.0 dB wet|RT60 0.50 s|from +0.25 s|free|ney-abc-0000"""
    assert not [text for text in re.split(r"[|\n]", texts) if text not in whole.text]


def test_slices_are_shown_with_what_was_annotated_or_their_label(own_mixtures):
    shown = made(own_mixtures.parent / "slices", 3)
    assert [one["id"] for one in shown.all("article")] == ["tar-abc-0000", "tonbak-abc-0000", "avaz-abc-0001"]
    assert len(shown.all("audio")) == 3
    assert re.findall(r"(\w+)-abc \(synthetic\)", shown.text) == ["avaz"]
    texts = (
        "8 slices",
        "96.0 BPM estimate 0.91",
        "A3 estimate 0.80",
        "label 1.00",
        "uncertain or free 0.40",
        "48.0 BPM",
    )
    assert not [text for text in texts if text not in shown.text]
    (own_mixtures.parent / "annotations.parquet").unlink()
    labelled = made(own_mixtures.parent / "slices")
    assert "Dastgah by labelshur شور" in labelled.text
    assert "BPM" not in labelled.text


def test_nothing_from_a_file_becomes_markup(own_mixtures):
    evil = '"><script>alert(1)</script>&'

    def spoilt(row: dict) -> dict:
        names = {name: f"{row[name]}{evil}" for name in ("mixture_id", "instrument") if name in row}
        return row | names

    for table, file in (
        (tables.SLICES, own_mixtures.parent / "slices/slices.parquet"),
        (tables.MIXTURES, own_mixtures / "mixtures.parquet"),
        (tables.COMPONENTS, own_mixtures / "components.parquet"),
    ):
        table.write(file, map(spoilt, table.read(file)))
    for shown in (made(own_mixtures, 3), made(own_mixtures.parent / "slices", 3)):
        assert f"tar{evil}" in shown.text
        assert len(shown.all("script")) == 1
    assert all(evil in article["id"] for article in made(own_mixtures, 3).all("article"))


def test_only_what_is_in_the_page_is_loaded(whole):
    for _, attributes in whole.elements:
        for name in ("src", "href", "srcset", "poster", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
        assert not any(name.startswith("on") for name in attributes)
    assert not re.search(r"url\(|@import", pages.asset("tarkib.preview", "page.css"))
    (policy,) = whole.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none';")


def test_ids_headings_and_languages_are_sound(whole):
    ids = Counter(a["id"] for _, a in whole.elements if "id" in a)
    assert set(ids.values()) == {1}
    assert {a["aria-labelledby"] for _, a in whole.elements if "aria-labelledby" in a} <= ids.keys()
    assert all(image["alt"] for image in whole.all("img"))
    levels = [int(tag[1]) for tag, _ in whole.elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    languages = Counter((a["lang"], a.get("dir")) for _, a in whole.elements if "lang" in a)
    assert languages.keys() == {("en", None), ("fa", "rtl")}


def test_equal_data_sets_give_equal_pages(mixtures, own_mixtures):
    one, other = ("".join(page.pieces(dataset.read(folder), 3)) for folder in (mixtures, own_mixtures))
    assert one == other
    assert str(mixtures.parent) not in one


def test_components_that_do_not_add_up_are_refused(own_mixtures):
    file = own_mixtures / "components.parquet"
    rows = tables.COMPONENTS.read(file)
    rows[1]["slice_id"] = "avaz-abc-0000"
    tables.COMPONENTS.write(file, rows)
    with pytest.raises(TarkibError, match=r"train-000001 is not the sum of its comp.* run dvc repro"):
        made(own_mixtures)


@pytest.mark.slow
def test_the_command_writes_the_page(mixtures, tmp_path, capsys, monkeypatch):
    out = tmp_path / "new/page.html"
    assert main(["preview", str(mixtures), "--out", str(out), "--count", "3", "--split", "train"]) == 0
    assert out.read_text("utf-8").count("<article") == 3
    assert capsys.readouterr().out == f"{out} written: 3 of 8, {out.stat().st_size / 1e6:.1f} MB\n"
    monkeypatch.chdir(tmp_path)
    assert main(["preview", str(mixtures.parent / "slices")]) == 0
    assert (tmp_path / "preview.html").read_text("utf-8").count("<article") == 8
    assert main(["preview", str(mixtures), "--count", "1", "--out", str(tmp_path)]) == 1
    assert f"{tmp_path}: cannot be written (Is a directory)" in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["mixtures", "slices"])
def test_a_missing_shard_is_named_and_leaves_the_old_page(own_mixtures, tmp_path, capsys, folder):
    out = tmp_path / "page.html"
    out.write_text("old")
    (own_mixtures.parent / folder / "shard-00000.tar").unlink()
    assert main(["preview", str(own_mixtures), "--out", str(out)]) == 1
    assert re.search(rf"error: .*{folder}/shard-00000.tar: .*dvc checkout", capsys.readouterr().err)
    assert out.read_text() == "old"
    assert [*tmp_path.glob("page*")] == [out]


@pytest.mark.parametrize(("option", "value"), [("--count", "0"), ("--mode", "tempo"), ("--split", "test")])
def test_a_call_without_sense_is_refused(mixtures, capsys, option, value):
    with pytest.raises(SystemExit) as ended:
        main(["preview", str(mixtures), option, value])
    assert ended.value.code == 2
    assert f"'{value}'" in capsys.readouterr().err
