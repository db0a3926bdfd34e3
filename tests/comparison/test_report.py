"""The report's tables, Markdown and page."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import chromium
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from tarkib.comparison import pictures, report
from tarkib.comparison.experiments import DONE, FAILED, MISSING, Experiment
from tarkib.comparison.report import Report
from tarkib.errors import TarkibError
from tarkib.params import MODES

from .synthetic import FIXED, clips, experiments, predicted, runs

_EVIL = "<script>alert(1)</script> | `x` *y*"


def _made(skills, seeds=(1, 2), lacking=(), rounds=49, **of) -> Report:
    predictions = runs(clips(**of), skills, seeds)
    return report.make([*experiments(predictions), *lacking], predictions, FIXED, {"train.epochs": "8"}, rounds)


def _four_modes() -> Report:
    """Four modes, two seeds, and a failed and a missing experiment of a third."""
    lacking = [
        Experiment("bpm", 3, FAILED, "bpm-seed3-1234567", reason=_EVIL),
        Experiment("random", 3, MISSING, "random-seed3-1234567"),
    ]
    skills = {"random": 0.5, "bpm": 0.9, "dastgah": 0.5, "dastgah+bpm": 1.0}
    return _made(skills, lacking=lacking, rounds=4_999)


def test_experiments_on_another_test_set_than_most_are_left_out(monkeypatch):
    other, of = clips(each=2), clips()
    read = {"a": predicted(other, 0.5, 1), "b": predicted(of, 0.5, 1), "c": predicted(of, 0.9, 1)}
    monkeypatch.setattr(report.predictions, "read", read.__getitem__)
    asked = [Experiment(mode, 1, DONE, f"{mode}-1", name) for mode, name in zip(MODES, "abc", strict=False)]
    checked, kept = report.gather(asked)
    assert kept == {("bpm", 1): read["b"], ("dastgah", 1): read["c"]}
    assert [one.state for one in checked] == [FAILED, DONE, DONE]
    assert checked[0].reason.startswith("scored on another test set than most; dvc exp remove random-1,")


@pytest.fixture(scope="module")
def made() -> Report:
    return _four_modes()


@pytest.fixture(scope="module")
def written(made, tmp_path_factory) -> Path:
    """The page, with the other files beside it."""
    out = tmp_path_factory.mktemp("report") / "reports" / "comparison.html"
    assert [file.suffix for file in report.write(made, out)] == [".html", ".md", ".png"]
    return out


@pytest.mark.slow
def test_tables_have_means_intervals_p_values_and_verdicts(made):
    table = made.tables["means"]
    assert table.heading == ["figure", *(f"{mode} (2 seeds)" for mode in MODES)]
    for row in table.rows[:-1]:
        for mean, recordings, seeds in row[1:]:
            assert re.fullmatch(r"0\.\d{3}", mean)
            assert re.fullmatch(r"\[0\.\d{3}, 0\.\d{3}\]", recordings)
            assert re.fullmatch(r"\(−?\d\.\d{3}, \d\.\d{3}\)", seeds)
    # The calibration error has an interval over seeds alone.
    assert [len(cell) for cell in table.rows[-1]] == [1, 2, 2, 2, 2]
    mean, recordings, _, p, verdict = made.tables["differences"].rows[4][3]
    assert (mean[:3], recordings[:4]) == ("+0.", "[+0.")
    assert re.fullmatch(r"p 0\.00\d+, Holm 0\.0\d+", p)
    assert verdict.startswith("better, with these models")


@pytest.mark.slow
def test_the_papers_figures_are_labelled_as_its_own(made, written):
    assert made.tables["paper"].rows[2] == [("dastgah",), ("0.838",), ("0.776",)]
    for suffix in (".html", ".md"):
        text = written.with_suffix(suffix).read_text("utf-8")
        assert "372 hand-labelled real excerpts" in text
        assert "do not compare its numbers with those above" in text
        assert "corrected over all 18 differences of this table (Holm, 1979)" in text


def test_experiments_the_command_and_the_versions_are_stated(made):
    rows = {row[0]: row[1:] for row in made.tables["runs"].rows}
    assert rows["random, seed 1",] == [("done",), ("random-seed1-1234567",), ("a" * 9,)]
    assert rows["bpm, seed 3",][0] == (f"failed: {_EVIL}",)
    assert rows["random, seed 3",][0] == ("missing",)
    assert made.command == "tarkib compare --modes random,bpm,dastgah,dastgah+bpm --seeds 1,2,3 -S train.epochs=8"
    assert re.fullmatch(r"Written with tarkib [\d.]+, torch [\d.]+\S*, dvc [\d.]+\.", made.made)


@pytest.mark.slow
def test_equal_experiments_give_equal_bytes(written, tmp_path):
    for file in report.write(_four_modes(), tmp_path / "comparison.html"):
        assert file.read_bytes() == written.with_suffix(file.suffix).read_bytes()


def test_markdown_has_the_same_tables(made, written):
    text = written.with_suffix(".md").read_text("utf-8")
    assert "](comparison.png)" in text
    tables = [block for block in text.split("\n\n") if block.startswith("| ")]
    for block, table in zip(tables, made.tables.values(), strict=True):
        lines = block.splitlines()
        assert len(lines) == len(table.rows) + 2
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(table.heading) + 1}
    assert r"\<script\>alert(1)\</script\> \| \`x\` \*y\*" in text
    assert "`data.raw: data/demo/raw`, `data.test: data/demo/test`" in text


def test_the_picture_has_every_mode_in_its_colour(made, written):
    pixels = imread(written.with_suffix(".png"))[..., :3]
    for mode in made.comparison.compared:
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
    assert all(image["src"].startswith("data:image/png") and len(image["alt"]) > 60 for image in parsed.all("img"))
    assert len(parsed.all("img")) == len(parsed.all("source")) == 4
    assert [link["href"] for link in parsed.all("a")] == ["https://arxiv.org/abs/2511.05717"]
    assert "&lt;script&gt;alert(1)" in text
    assert made.statements.headline in text


@pytest.mark.slow
def test_a_mode_alone_and_a_single_recording_can_be_reported(tmp_path):
    alone = _made({"bpm": 0.5}, seeds=(1,))
    assert [file.suffix for file in report.write(alone, tmp_path / "x.html")] == [".html", ".md"]
    text = (tmp_path / "x.html").read_text("utf-8")
    assert "Only bpm was scored" in text
    assert "Differences to" not in text
    assert len(_Page(text).all("img")) == 1
    single = _made({"random": 0.5, "bpm": 0.9}, recordings=1, each=20)
    # No interval over recordings, and no p-value.
    assert [text[0] for text in single.tables["differences"].rows[0][1]] == ["+", "("]
    assert len(report.write(single, tmp_path / "y.html")) == 3
    (tmp_path / "file").write_text("")
    with pytest.raises(TarkibError, match=r"--out .*file/x\.html: cannot be written .*; name another file"):
        report.write(alone, tmp_path / "file" / "x.html")


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (1280, "dark")])
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
    ground = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (max(map(int, re.findall(r"\d+", ground))) < 60) == (scheme == "dark")
    shown = opened.evaluate("document.images[0].currentSrc")
    sources = _Page(written.read_text("utf-8"))
    assert shown == (sources.all("source")[0]["srcset"] if scheme == "dark" else sources.all("img")[0]["src"])
    assert wrong == []
    context.close()
