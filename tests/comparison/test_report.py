"""The report's tables, Markdown and page."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import chromium
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from tarkib.comparison import layout, markdown, page, pictures, report
from tarkib.comparison.experiments import FAILED, MISSING, Experiment, without
from tarkib.comparison.report import Report
from tarkib.params import MODES

from .synthetic import FIXED, clips, experiments, runs

_EVIL = "<script>alert(1)</script> | `x` *y*"


def _made(skills=None, seeds=(1, 2), lacking=(), **of) -> Report:
    predictions = runs(clips(**of), skills or {"random": 0.5, "bpm": 0.9, "dastgah": 0.5, "dastgah+bpm": 1.0}, seeds)
    return report.make([*experiments(predictions), *lacking], predictions, FIXED, {"train.epochs": "8"}, rounds=9_999)


@pytest.fixture(scope="module")
def made() -> Report:
    """Four modes, two seeds, and a failed and a missing experiment of a third."""
    failed = without(Experiment("bpm", 3, MISSING, "bpm-seed3-1234567"), _EVIL)
    return _made(lacking=[failed, Experiment("random", 3, MISSING, "random-seed3-1234567")])


@pytest.fixture(scope="module")
def written(made, tmp_path_factory) -> Path:
    """Where the page is, and beside it the rest."""
    out = tmp_path_factory.mktemp("report") / "reports" / "comparison.html"
    assert [one.suffix for one in report.write(made, out)] == [".html", ".md", ".png"]
    return out


def _table(made: Report, key: str) -> layout.Layout:
    return next(one for one in made.layouts if one.key == key)


def test_every_mode_and_figure_has_a_cell_with_both_intervals(made):
    table = _table(made, "means")
    assert table.heading == (
        "figure", "random (2 seeds)", "bpm (2 seeds)", "dastgah (2 seeds)", "dastgah+bpm (2 seeds)"
    )  # fmt: skip
    assert [row[0].text for row in table.rows][-2:] == ["mAP", "ECE"]
    for row in table.rows[:-1]:
        for cell in row[1:]:
            assert re.fullmatch(r"0\.\d{3}", cell.text)
            assert re.fullmatch(r"\[0\.\d{3}, 0\.\d{3}\]", cell.below[0])
            assert re.fullmatch(r"\(−?\d\.\d{3}, \d\.\d{3}\)", cell.below[1])
    # The calibration error has an interval over seeds alone.
    assert all(len(cell.below) == 1 and cell.below[0].startswith("(") for cell in table.rows[-1][1:])


def test_differences_have_p_values_and_a_verdict(made):
    table = _table(made, "differences")
    assert len(table.rows) == 18
    row = next(row for row in table.rows if row[0].text == "dastgah+bpm: ROC-AUC")
    assert row[1].text.startswith("+0.")
    assert row[2].text.startswith("[+0.")
    assert row[6].text.startswith("better, with these models")
    assert "corrected over all 18 differences of this table (Holm, 1979)" in table.note


def test_the_papers_figures_are_labelled_as_its_own(made):
    table = _table(made, "paper")
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["random", "0.769", "0.755"],
        ["bpm", "0.801", "0.785"],
        ["dastgah", "0.838", "0.776"],
        ["dastgah+bpm", "0.817", "0.796"],
    ]
    assert "372" in table.note
    assert "not to be held against each other" in table.note


def test_what_is_undefined_is_a_dash():
    of = clips()
    of.targets[:, 3] = 0
    predictions = runs(of, {"random": 0.5, "bpm": 0.9})
    table = _table(report.make(experiments(predictions), predictions, FIXED, {}, rounds=49), "class_roc_auc")
    assert [cell.text for cell in table.rows[3]] == ["kamancheh", "–", "–"]
    assert table.rows[0][1].text != "–"


def test_failed_and_missing_experiments_are_rows(made):
    rows = {row[0].text: row for row in _table(made, "runs").rows}
    assert rows["random, seed 1"][1].text == "done"
    assert rows["random, seed 1"][3].text == "a" * 9
    assert rows["random, seed 1"][4].text == "2026-03-01 12:00 UTC"
    assert rows["bpm, seed 3"][1].text == f"failed: {_EVIL}"
    assert rows["random, seed 3"][1].text == "missing"


def test_it_says_how_to_make_it_again(made):
    assert made.command == ("tarkib compare --modes random,bpm,dastgah,dastgah+bpm --seeds 1,2,3 -S train.epochs=8")
    versions = r"tarkib [\d.]+, torch [\d.]+\S*, dvc [\d.]+\."
    assert re.search(rf"{versions} The experiments were made on 2026-03-01\.", made.made)
    assert ("model.revision", "null") in made.fixed


def test_equal_experiments_give_equal_bytes(made, written, tmp_path):
    failed = without(Experiment("bpm", 3, MISSING, "bpm-seed3-1234567"), _EVIL)
    again = _made(lacking=[failed, Experiment("random", 3, MISSING, "random-seed3-1234567")])
    for one in report.write(again, tmp_path / "comparison.html"):
        assert one.read_bytes() == written.with_suffix(one.suffix).read_bytes()


def test_markdown_has_the_same_tables(made, written):
    text = written.with_suffix(".md").read_text("utf-8")
    assert "![Differences to random" in text
    assert "](comparison.png)" in text
    tables = [block for block in text.split("\n\n") if block.startswith("| ")]
    assert len(tables) == len(made.layouts)
    for block, one in zip(tables, made.layouts, strict=True):
        lines = block.splitlines()
        assert len(lines) == len(one.rows) + 2
        for line in lines:
            assert len(re.findall(r"(?<!\\)\|", line)) == len(one.heading) + 1
    assert r"\<script\>alert(1)\</script\> \| \`x\` \*y\*" in text


def test_the_picture_has_every_mode_in_its_colour(made, written):
    pixels = imread(written.with_suffix(".png"))[..., :3]
    assert pixels.shape[1] > 1_500
    for mode in made.comparison.differences:
        colour = to_rgb(pictures.LIGHT.modes[MODES.index(mode)])
        # A mark and a line for each figure and each instrument.
        assert (abs(pixels - colour).max(axis=2) < 0.02).sum() > 300, mode


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.found.append((tag, dict(attributes)))

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]


def test_the_page_stands_alone(made, written):
    text = written.read_text("utf-8")
    parsed = _Page(text)
    assert not parsed.all("script")
    assert all(one["src"].startswith("data:image/png") and len(one["alt"]) > 60 for one in parsed.all("img"))
    assert len(parsed.all("img")) == len(parsed.all("source")) == 5
    assert [one["href"] for one in parsed.all("a")] == ["https://arxiv.org/abs/2511.05717"]
    assert not parsed.all("link")[0]["href"].startswith("http")
    assert "&lt;script&gt;alert(1)" in text
    assert made.words.headline in text


def test_a_mode_alone_has_a_page_without_differences(tmp_path):
    alone = _made({"bpm": 0.5}, seeds=(1,))
    assert [one.suffix for one in report.write(alone, tmp_path / "x.html")] == [".html", ".md"]
    text = (tmp_path / "x.html").read_text("utf-8")
    assert "Only bpm was scored" in text
    assert "Differences to" not in text
    assert len(_Page(text).all("img")) == 2


def test_a_single_recording_and_two_modes_can_be_drawn():
    alone = _made({"random": 0.5, "bpm": 0.9}, recordings=1, each=20)
    assert pictures.comparison(alone.comparison).startswith(b"\x89PNG")
    assert "cannot be told" in page.write(alone)
    assert "cannot be told" in markdown.write(alone, "x.png")


@pytest.fixture(scope="module")
def browser():
    """A Chromium that is installed here."""
    with chromium() as one:
        yield one


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 400, 900, 1280])
def test_the_page_fits_every_screen_and_nothing_goes_wrong_in_it(browser, written, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    opened, wrong = context.new_page(), []
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda one: None if one.url.startswith(("data:", "file:")) else wrong.append(one.url))
    opened.goto(written.as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    parts = "document.querySelectorAll('table, td, th, li, pre, figure')"
    wide = f"[...{parts}].filter((one) => one.scrollWidth > one.clientWidth + 1)"
    assert opened.evaluate(f"{wide}.map((one) => one.outerHTML.slice(0, 200))") == []
    assert opened.evaluate("[...document.images].every((one) => one.naturalWidth > 600)")
    ground = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", ground))) < 60) == (scheme == "dark")
    shown = opened.evaluate("document.images[0].currentSrc")
    sources = _Page(written.read_text("utf-8"))
    assert shown == (sources.all("source")[0]["srcset"] if scheme == "dark" else sources.all("img")[0]["src"])
    assert wrong == []
    context.close()


@pytest.mark.parametrize("state", [FAILED, MISSING])
def test_states_have_words(state):
    [row] = layout.runs([Experiment("bpm", 1, state, "bpm-seed1-1234567")]).rows
    assert row[1].text == state
