"""The page in a browser: from an upload to its timeline, and from a key to labels.csv."""

import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import chromium, write

from app.serving import RATE, served, tone, write_classifier
from tarkib.app import recognition
from tarkib.app.labelling import Labels
from tarkib.evaluation import testset
from tarkib.vocabulary import INSTRUMENTS, PERSIAN

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = [pytest.mark.browser, pytest.mark.slow]

# Longer than the slowest machine takes: only a failure waits for so long.
_PATIENCE_S = 120


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    """A Chromium in which sound needs no click."""
    with chromium("--autoplay-policy=no-user-gesture-required") as browser:
        yield browser


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """The folder that the server of this module labels."""
    return tmp_path_factory.mktemp("excerpts")


@pytest.fixture(scope="module")
def address(browser, shared: Path, tmp_path_factory) -> Iterator[str]:
    with served(shared, write_classifier(tmp_path_factory.mktemp("model") / "classifier")) as address:
        yield address


@pytest.fixture
def folder(shared: Path) -> Path:
    """Four excerpts without labels."""
    shutil.rmtree(shared, ignore_errors=True)
    for name in ("a.wav", "b.wav", "c.aiff", "sub/d.flac"):
        write(shared / name, tone(5.0), RATE)
    return shared


@pytest.fixture
def opened(browser, address: str) -> Iterator[Callable]:
    """Open a page in a window of its own; at the end no script failed and no other server was asked.

    Errors that a test causes match a pattern in `foreseen`.
    """
    wrong, foreseen, contexts = [], [], []

    def page(path: str = "", where: str = address, width: int = 1280, **options: object) -> "playwright.Page":
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        contexts[-1].set_default_timeout(1_000 * _PATIENCE_S)
        page = contexts[-1].new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        own = (where, "data:", "blob:")
        page.on("request", lambda request: None if request.url.startswith(own) else wrong.append(request.url[:80]))
        page.goto(where + path)
        return page

    page.foreseen = foreseen
    yield page
    for context in contexts:
        context.close()
    assert [error for error in wrong if not any(re.search(pattern, error) for pattern in foreseen)] == []


def until(page: "playwright.Page", condition: str) -> None:
    """Wait until JavaScript says so; playwright's own way needs `eval`, which the page forbids."""
    end = time.monotonic() + _PATIENCE_S
    while not page.evaluate(condition):
        assert time.monotonic() < end, condition
        page.wait_for_timeout(20)


def recognise(page: "playwright.Page", path: Path) -> None:
    """Upload a recording and wait until its timeline is shown and its sound can be played."""
    page.set_input_files("#recording", path)
    page.locator(".recognition h2", has_text=path.name).wait_for()
    until(page, "document.querySelector('audio').readyState >= 1")


def at(page: "playwright.Page", place: int) -> None:
    """Wait until the excerpt of a place, from 1, is shown."""
    page.locator(".place", has_text=re.compile(f"^{place} of ")).wait_for()


def pressed(page: "playwright.Page") -> list[str]:
    return page.eval_on_selector_all("[aria-pressed=true]", "(all) => all.map((button) => button.dataset.instrument)")


def rows_of(folder: Path) -> list[str]:
    return (folder / "labels.csv").read_text().splitlines()[1:]


def press(page: "playwright.Page", key: str) -> None:
    """Press a key and wait until the server has answered; the page shows the answer a moment later."""
    with page.expect_response(lambda response: response.request.method == "POST"):
        page.keyboard.press(key)


def dispatch(page: "playwright.Page", *keys: dict) -> None:
    page.evaluate(
        """(keys) => { for (const key of keys)
          document.body.dispatchEvent(new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...key })); }""",
        list(keys),
    )


# What plays when


def test_a_recording_becomes_a_timeline(opened, tmp_path):
    page = opened()
    recognise(page, write(tmp_path / "Golha (012).wav", tone(20.0, silent_from=10.0), RATE))
    names = page.locator(".names li")
    assert [row.split() for row in names.all_inner_texts()] == [[name, PERSIAN[name]] for name in INSTRUMENTS]
    assert page.locator(".names .plays").all_inner_texts() == names.all_inner_texts()[:1]
    (row,) = page.locator(".segments tbody tr").all_inner_texts()
    assert row.split()[:4] == ["ney", PERSIAN["ney"], "0:00", "0:11"]
    audio = "document.querySelector('audio')"
    # A click plays from there, slowly here, and the playhead follows.
    page.evaluate(f"{audio}.playbackRate = 0.0625")
    slider = page.get_by_role("slider", name="Position in the recording")
    slider.click(position={"x": slider.bounding_box()["width"] / 4, "y": 50})
    until(page, "parseFloat(document.querySelector('.playhead').style.left) > 25.2")
    assert page.locator(".names .now").all_inner_texts() == names.all_inner_texts()[:1]
    page.keyboard.press(" ")
    until(page, f"{audio}.paused")
    page.wait_for_selector(".names .now", state="detached")
    for key, second in (("Home", 0), ("ArrowRight", 0.2), ("End", 20)):
        page.keyboard.press(key)
        until(page, f"Math.abs({audio}.currentTime - {second}) < 0.05")
        assert float(slider.input_value()) == pytest.approx(second, abs=0.05)
    page.wait_for_selector("[aria-valuetext='0:20 of 0:20']")
    page.locator(".from").first.click()
    until(page, f"{audio}.currentTime < 4")


def test_results_are_downloaded_and_converted_sound_is_played(opened, tmp_path):
    page = opened()
    recognise(page, write(tmp_path / "song.v2.aiff", tone(6.0), RATE))
    assert page.evaluate("document.querySelector('audio').duration") == pytest.approx(6.0, abs=0.01)
    texts = {}
    for kind in ("csv", "json", "jams", "png"):
        with page.expect_download() as download:
            page.locator(f"#{kind}").click()
        assert download.value.suggested_filename == f"song.v2.{kind}"
        texts[kind] = Path(download.value.path()).read_text(errors="replace")
    assert texts["png"][1:4] == "PNG"
    assert json.loads(texts["jams"])["annotations"][0]["data"][0]["value"] == "ney"
    assert "Model: unknown backbone" in page.inner_text("main")
    assert texts["csv"].splitlines()[1].startswith("song.v2.aiff,ney,0.000,6.000,")
    content = json.loads(texts["json"])
    assert (content["file"], len(content["windows"])) == ("song.v2.aiff", 2)


def test_a_broken_recording_is_one_message_and_the_next_is_recognised(opened, tmp_path):
    page = opened()
    (tmp_path / "text.wav").write_text("no music")
    page.set_input_files("#recording", tmp_path / "text.wav")
    page.wait_for_selector(".message")
    assert page.get_by_role("alert").inner_text().startswith("text.wav: cannot be decoded")
    recognise(page, write(tmp_path / "<img src=x onerror=alert(1)>.wav", tone(6.0), RATE))
    assert page.locator(".message").is_hidden()
    assert page.locator(".recognition img").count() == 0


def test_recognition_can_be_stopped(opened, tmp_path, monkeypatch):
    waiting = threading.Event()
    monkeypatch.setattr(recognition.audio, "seconds", lambda _: waiting.wait(_PATIENCE_S) and 6.0)
    page = opened()
    song = write(tmp_path / "song.wav", tone(6.0), RATE)
    page.set_input_files("#recording", song)
    page.get_by_role("button", name="Stop").click()
    waiting.set()
    assert page.locator(".working").is_hidden()
    recognise(page, write(tmp_path / "next.wav", tone(6.0), RATE))


def test_without_a_model_the_page_says_what_to_do_and_labels(opened, folder, tmp_path):
    opened.foreseen.append("net::ERR_")
    with served(folder, tmp_path / "absent") as where:
        page = opened(where=where)
        assert "absent: no such model; run dvc repro" in page.get_by_role("alert").inner_text()
        page.get_by_role("link", name="Label excerpts").click()
        at(page, 1)
        press(page, "2")
        assert rows_of(folder) == ["a,,0,1,0,0,0,0,0,0,0,0"]
    # The server is gone now.
    page.keyboard.press("1")
    until(page, "document.querySelector('.message').textContent.includes('not saved')")
    assert pressed(page) == ["tar"]


# Labels


def test_ten_keys_and_enter_label(opened, folder):
    page = opened("label")
    at(page, 1)
    assert page.locator(".state").inner_text() == "not labelled yet"
    expected = [0] * 10
    for key, k in [("2", 1), ("0", 9), ("1", 0), ("2", 1)]:
        press(page, key)
        expected[k] = 1 - expected[k]
        assert rows_of(folder) == [f"a,,{','.join(map(str, expected))}"]
    until(page, "document.querySelectorAll('[aria-pressed=true]').length === 2")
    assert (pressed(page), page.locator(".state").inner_text()) == (["ney", "avaz"], "labelled")
    for key, place in (("ArrowRight", 2), ("n", 3), ("ArrowLeft", 2), ("p", 1), ("p", 1), ("u", 2)):
        page.keyboard.press(key)
        at(page, place)
    assert page.get_by_role("button", name="Nothing plays, next").is_visible()
    page.keyboard.press("Enter")
    at(page, 3)
    page.keyboard.press("p")
    at(page, 2)
    assert page.locator(".state").inner_text() == "labelled: nothing plays"
    # Opened again, the page continues at the first excerpt without labels.
    page.reload()
    at(page, 3)
    # Keys that are pressed before the server answers are meant for the excerpt that comes next.
    dispatch(page, *({"key": key} for key in ("3", "Enter", "4")))
    until(page, "document.querySelector('.count').textContent === '4 labelled'")
    assert "All 4 excerpts are labelled" in page.locator(".notice").inner_text()
    assert testset.load(folder).targets[2:].tolist() == [[0, 0, 1] + [0] * 7, [0, 0, 0, 1] + [0] * 6]


def test_other_keyboards_work_by_position(opened, folder):
    page = opened("label")
    at(page, 1)
    persian = [{"key": "۱", "code": "Digit1"}, {"key": "۲", "code": "Numpad2"}, {"key": "۰", "code": "Digit0"}]
    dispatch(page, *persian, {"key": "د", "code": "KeyN"})
    at(page, 2)
    french = [{"key": '"', "code": "Digit3"}, {"key": "4", "code": "Digit4", "shiftKey": True}]
    dispatch(page, *french, {"key": "ح", "code": "KeyP"})
    at(page, 1)
    # Signs on an English keyboard, other letters on a Dvorak one, and a number pad that moves.
    dispatch(page, {"key": "!", "code": "Digit1", "shiftKey": True}, {"key": "b", "code": "KeyN"})
    dispatch(page, {"key": "End", "code": "Numpad1"}, {"key": "ArrowRight", "code": "Numpad6"})
    at(page, 2)
    assert rows_of(folder) == ["a,,1,1,0,0,0,0,0,0,0,1", "b,,0,0,1,1,0,0,0,0,0,0"]


def test_the_mouse_and_focused_buttons_work(opened, folder):
    page = opened("label")
    at(page, 1)
    page.get_by_role("button", name="santur").click()
    page.wait_for_selector("[data-instrument=santur][aria-pressed=true]")
    # The key that replays must not press the button that was clicked.
    page.keyboard.press(" ")
    until(page, "document.querySelector('audio').played.length")
    page.get_by_role("button", name="Confirm and next").click()
    at(page, 2)
    page.get_by_role("button", name="ney").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press(page, " ")
    press(page, "Enter")
    assert rows_of(folder) == ["a,,0,0,1,0,0,0,0,0,0,0", "b,,0,0,0,0,0,0,0,0,0,0"]
    page.get_by_label("Play each at once").check()
    page.get_by_role("button", name="Skip").click()
    at(page, 3)  # an AIFF file, which is converted
    until(page, "document.querySelector('audio').played.length")
    assert page.evaluate("document.querySelector('audio').duration") == pytest.approx(5, abs=0.02)


def test_a_recording_is_saved_with_the_first_label(opened, folder):
    page = opened("label")
    at(page, 1)
    field = page.get_by_label("Cut from")
    field.click()
    page.keyboard.type("golha  12 p n u")  # none of which is a key
    page.keyboard.press("Enter")
    assert not (folder / "labels.csv").exists()
    page.evaluate("window.dispatchEvent(new Event('focus'))")  # as after a look at another window
    press(page, "1")
    until(page, "document.querySelector('.recording').value === 'golha 12 p n u'")
    assert rows_of(folder) == ["a,golha 12 p n u,1,0,0,0,0,0,0,0,0,0"]
    field.fill("")
    press(page, "Enter")
    assert rows_of(folder) == ["a,,1,0,0,0,0,0,0,0,0,0"]


def test_two_pages_and_another_program_lose_nothing(opened, folder):
    page, other = opened("label"), opened("label")
    at(page, 1)
    at(other, 1)
    for window, key in ((page, "1"), (other, "2"), (page, "3")):
        press(window, key)
    press(other, "Enter")
    at(other, 2)
    press(other, "4")
    assert rows_of(folder) == ["a,,1,1,1,0,0,0,0,0,0,0", "b,,0,0,0,1,0,0,0,0,0,0"]
    until(page, "document.querySelectorAll('[aria-pressed=true]').length === 3")
    (folder / "labels.csv").write_text("sample_id,oud,santoor,tar,difficulty\nb.wav,1,0.5,0,hard\na,0,0,1,\n")
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    until(page, "document.querySelectorAll('.instrument:disabled').length === 8")
    assert "has no column for ney, kamancheh, daf" in page.locator(".without").inner_text()
    assert page.get_by_label("Cut from").is_disabled()
    press(page, "3")
    page.keyboard.press("n")
    at(page, 2)
    assert page.locator("[data-instrument=santur]").get_attribute("aria-pressed") == "mixed"
    press(page, "Enter")
    assert rows_of(folder) == ["b.wav,1,0.5,0,hard", "a,0,1,1,"]


def test_errors_are_shown_in_words(opened, folder, monkeypatch):
    damaged = "sample_id,ney,avaz\na,1,yes\n"
    (folder / "labels.csv").write_text(damaged)
    opened.foreseen += ["409", "500"]
    page = opened("label")
    message = page.locator(".message")
    message.wait_for()
    assert "labels.csv, line 2: avaz is 'yes'; write 1 (plays), 0" in message.inner_text()
    assert page.locator(".desk").is_hidden()
    page.keyboard.press("1")
    assert rows_of(folder) == damaged.splitlines()[1:]
    (folder / "labels.csv").unlink()
    page.reload()
    at(page, 1)
    with monkeypatch.context() as patch:
        patch.setattr(Labels, "change", None)
        page.keyboard.press("1")
        message.wait_for()
        assert message.inner_text().startswith("tarkib app could not do that (500); its terminal says why.")
        page.evaluate("window.dispatchEvent(new Event('focus'))")  # as after a look at the terminal
        assert message.is_visible()
    press(page, "1")
    message.wait_for(state="hidden")


def test_names_of_excerpts_are_shown_as_text(opened, folder):
    shutil.rmtree(folder)
    write(folder / "<img src=x onerror=alert(1)>.wav", tone(12.0), RATE)
    page = opened("label")
    at(page, 1)
    assert page.locator("h2").inner_text() == "<img src=x onerror=alert(1)>.wav"
    assert page.locator(".excerpt img").count() == 0
    assert page.locator(".remark").is_visible()


# How it looks


@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (1280, "dark")])
def test_the_page_fits_the_screen_and_text_is_readable(opened, folder, tmp_path, width, scheme):
    """No page is wider than the screen; contrast is at least 4.5 to 1 (WCAG 2.2, minimum)."""
    wide = "document.documentElement.scrollWidth"
    cut = "(all) => all.filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => box.outerHTML)"
    page = opened("label", width=width, color_scheme=scheme)
    at(page, 1)
    press(page, "2")
    page.wait_for_selector("[aria-pressed=true]")
    contrasts = [page.evaluate(_CONTRAST)]
    assert page.evaluate(wide) <= width
    assert page.eval_on_selector_all(".instrument", cut) == []
    page.get_by_role("link", name="What plays when").click()
    recognise(page, write(tmp_path / f"{'long-name' * 20}.wav", tone(20.0, silent_from=10.0), RATE))
    page.evaluate("document.querySelector('audio').playbackRate = 0.0625")
    page.evaluate("document.querySelector('audio').play()")
    page.wait_for_selector(".names .now")
    assert page.evaluate(wide) <= width
    assert page.eval_on_selector_all(".names li", cut) == []
    contrasts.append(page.evaluate(_CONTRAST))
    page.set_input_files("#recording", folder / "labels.csv")
    page.wait_for_selector(".message")
    contrasts.append(page.evaluate(_CONTRAST))
    # Black on white is 21; without any text it would be infinite.
    assert all(4.5 <= contrast <= 21 for contrast in contrasts), contrasts


_CONTRAST = """() => {
  const part = (n) => (n /= 255) <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4;
  const light = (c) => {
    const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (element) => {
    const c = getComputedStyle(element).backgroundColor;
    return c === "rgba(0, 0, 0, 0)" ? ground(element.parentElement) : c;
  };
  const text = [...document.querySelector("main").querySelectorAll("*")].filter((element) => element.checkVisibility()
    && !element.closest("button:disabled, svg, datalist")
    && [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return Math.min(...text.map((element) => {
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))].sort((a, b) => b - a);
    return (a + 0.05) / (b + 0.05);
  }));
}"""
