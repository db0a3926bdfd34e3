import base64
import itertools
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest

from preview.conftest import EVIL
from tarkib import tables
from tarkib.audio import clips
from tarkib.errors import TarkibError
from tarkib.preview import dataset, page
from tarkib.runtime import pages

_VOID = {"meta", "link", "img"}


class Page(HTMLParser):
    """The elements of a page with their attributes and own text; refuses tags that do not close as they opened."""

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


def made(folder, count=12) -> Page:
    return Page("".join(page.pieces(dataset.read(folder), count)))


@pytest.fixture(scope="module")
def told(mixtures) -> Page:
    """The page of all mixtures."""
    return made(mixtures)


def flac(element: dict) -> bytes:
    kind, data = element["src"].split(",")
    assert kind == "data:audio/flac;base64"
    return base64.b64decode(data)


def test_each_mixture_has_its_players_and_its_components(mixtures, told):
    some = made(mixtures, 4)
    assert [one["id"] for one in some.all("article")] == [
        f"{'validation' if n == 9 else 'train'}-00000{n}" for n in (0, 3, 6, 9)
    ]
    assert len(some.all("table", role="table")) == 4
    assert len(some.all("audio")) == 4 + 1 + 1 + 1 + 1
    assert len(told.all("article")) == 10
    assert len(told.all("audio")) == 10 + 18
    assert {one["preload"] for one in told.all("audio")} == {"none"}
    assert all(one["aria-label"] for one in told.all("audio"))


def test_the_mixture_is_the_shard_s_file_and_the_components_add_up_to_it(mixtures, told):
    players = told.all("audio")
    shard = (mixtures / "shard-00000.tar").read_bytes()
    row = tables.MIXTURES.read(mixtures / "mixtures.parquet")[1]
    mixture, *parts = (flac(one) for one in players if "train-000001" in one["aria-label"])
    assert mixture == shard[row["offset"] : row["offset"] + row["size"]]
    assert len(parts) == 2
    difference = sum(map(clips.decode, parts)) - clips.decode(mixture)
    assert np.abs(difference).max() < 1e-4


_SAID = """100.0 BPM|80.0 → 100.0|×1.250|−50 ¢|+2.0 dB|−12.0 dB wet|RT60 0.50 s|from +0.25 s|free|ney-abc-0000
10 mixtures, mode dastgah+bpm|8 train, 2 validation|All 10 mixtures|One dastgah a mixture, one tempo|shur|شور|نی|تنبک"""


def test_the_page_says_what_stands_in_the_tables(told):
    assert not [said for said in re.split(r"[|\n]", _SAID) if said not in told.text]


def test_persian_names_have_their_language_and_direction(told):
    (html,) = told.all("html")
    assert html["lang"] == "en"
    persian = [a for tag, a in told.elements if "lang" in a and tag != "html"]
    assert len(persian) > 50
    assert Counter((a["lang"], a["dir"]) for a in persian) == {("fa", "rtl"): len(persian)}


def test_the_counts_stay_those_of_the_whole(mixtures):
    few, many = (made(mixtures, count).text for count in (1, 2))
    few, many = (
        one[one.index("Distributions") : one.index(", evenly spread")].rstrip("12 mixtures") for one in (few, many)
    )
    assert "tonbak تنبک550 %" in few
    assert few == many


def test_slices_are_shown_with_what_was_annotated(mixtures):
    told = made(mixtures.parent / "slices", 3)
    assert [one["id"] for one in told.all("article")] == ["tar-abc-0000", "tonbak-abc-0000", "avaz-abc-0001"]
    assert len(told.all("audio")) == 3
    for said in (
        "8 slices",
        "96.0 BPM estimate 0.91",
        "220.0 Hz, A3 estimate 0.80",
        "label 1.00",
        "free 0.40",
        "48.0 BPM",
    ):
        assert said in told.text


def test_slices_without_annotations_have_their_label(own_mixtures):
    folder = own_mixtures()
    (folder.parent / "annotations.parquet").unlink()
    told = made(folder.parent / "slices")
    assert "shur شور (label)" in told.text
    assert "BPM" not in told.text


def test_nothing_from_a_file_becomes_markup(own_mixtures):
    folder = own_mixtures(called={"tar": f"oud{EVIL}"}, mark=EVIL)
    for told in (made(folder, 3), made(folder.parent / "slices", 3)):
        assert f"oud{EVIL}" in told.text
        assert len(told.all("script")) == 1
        ids = [one["id"] for one in told.all("article")]
        assert any(EVIL in one for one in ids)


def test_only_what_stands_in_the_page_is_loaded(told):
    for _, attributes in told.elements:
        for name in ("src", "href", "srcset", "poster", "action", "data"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert "url(" not in pages.asset("tarkib.preview", "page.css")
    assert "@import" not in pages.asset("tarkib.preview", "page.css")
    (policy,) = told.all("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none';")
    assert not [a for _, a in told.elements if any(name.startswith("on") for name in a)]


def test_every_id_is_there_once_and_every_reference_leads_to_one(told):
    ids = Counter(a["id"] for _, a in told.elements if "id" in a)
    assert set(ids.values()) == {1}
    assert {a["aria-labelledby"] for _, a in told.elements if "aria-labelledby" in a} <= ids.keys()
    assert all(a["alt"] for a in told.all("img"))
    levels = [int(tag[1]) for tag, _ in told.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_equal_data_sets_give_equal_pages(mixtures, own_mixtures):
    one, other = ("".join(page.pieces(dataset.read(folder), 3)) for folder in (mixtures, own_mixtures()))
    assert one == other
    assert str(mixtures.parent) not in one


def test_components_that_do_not_add_up_are_refused(own_mixtures):
    folder = own_mixtures()
    rows = tables.COMPONENTS.read(folder / "components.parquet")
    rows[1]["slice_id"] = "avaz-abc-0000"
    tables.COMPONENTS.write(folder / "components.parquet", rows)
    with pytest.raises(
        TarkibError, match=r"train-000001 is not the sum of its components .* dvc repro, or .* --slices"
    ):
        made(folder)
