"""The page in a real browser: from upload to picture, and from label to file."""

import csv
import io
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile
from conftest import chromium, write

from app.serving import RATE, served, tone, write_classifier
from tarkib.evaluation import testset
from tarkib.vocabulary import INSTRUMENTS, PERSIAN

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytest.importorskip("gradio", reason="gradio is not installed")

_NAMES = ("a.wav", "b.wav", "c.aiff", "sub/d.flac")
HEADING = "sample_id,recording," + ",".join(INSTRUMENTS)

# How long to wait for what must come: longer than the slowest machine takes, as only a failure waits for so long.
_PATIENCE_S = 120
# The sound of a recording lasts longer than any wait with this many seconds heard in one.
_SLOWLY = "document.querySelector('.tarkib-heard audio').playbackRate = 0.0625"


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    """A Chromium that is installed here, in which sound needs no click."""
    with chromium("--autoplay-policy=no-user-gesture-required") as one:
        yield one


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_classifier(tmp_path_factory.mktemp("model") / "classifier")


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    """The folder that the server of this module labels."""
    return tmp_path_factory.mktemp("excerpts")


@pytest.fixture(scope="module")
def address(browser, shared: Path, model: Path) -> Iterator[str]:
    """Where the page is served."""
    with served(shared, model) as one:
        yield one


@pytest.fixture
def folder(shared: Path) -> Path:
    """Four excerpts without labels."""
    shutil.rmtree(shared, ignore_errors=True)
    for name in _NAMES:
        write(shared / name, tone(5.0), RATE)
    return shared


@pytest.fixture
def opened(browser, address: str) -> Iterator[Callable]:
    """Open the page in a window of its own; at the end nothing went wrong in it and no one else was asked.

    What a test lets go wrong it adds to `foreseen`, as a pattern: the browser tells of it when it likes.
    """
    wrong, foreseen, contexts = [], [], []

    def page(where: str = address, tab: str = "Label", width: int = 1280, **options: object) -> "playwright.Page":
        contexts.append(browser.new_context(viewport={"width": width, "height": 900}, **options))
        contexts[-1].set_default_timeout(1_000 * _PATIENCE_S)
        one = contexts[-1].new_page()
        one.on("console", lambda message: wrong.append(told(message)) if message.type == "error" else None)
        one.on("pageerror", lambda error: wrong.append(str(error)))
        one.on("request", lambda request: wrong.append(request.url[:80]) if is_foreign(request.url, where) else None)
        one.goto(where)
        one.get_by_role("tab", name=tab).click()
        return one

    def told(message: "playwright.ConsoleMessage") -> str:
        return f"{message.text} {message.location['url'][:80]}"

    def is_foreign(asked: str, where: str) -> bool:
        return not asked.startswith((where, "data:", "blob:"))

    page.foreseen = foreseen
    yield page
    for context in contexts:
        context.close()
    assert [one for one in wrong if not any(re.search(pattern, one) for pattern in foreseen)] == []


def upload(page: "playwright.Page", path: Path) -> None:
    """Bring a file, in place of what was brought before."""
    clear = page.get_by_role("button", name="Clear")
    if clear.count():
        clear.first.click()
        # Else what is shown next may be of the file before, or be taken away with it.
        page.wait_for_selector("#heard :is(.tarkib-heard, .tarkib-message)", state="detached")
    page.set_input_files("#recording input[type=file]", path)


def hear(page: "playwright.Page", path: Path) -> None:
    """Bring a recording and wait until it was heard and can be played."""
    upload(page, path)
    page.wait_for_selector(".tarkib-heard")
    page.wait_for_function("document.querySelector('.tarkib-heard audio').readyState >= 1")


def left_of_playhead(page: "playwright.Page") -> float:
    return float(page.locator(".playhead").evaluate("(one) => one.style.left").rstrip("%") or 0)


def at(page: "playwright.Page", place: int) -> None:
    """Wait until the excerpt of a place, from 1, is shown, and its tab: keys are heard where it can be seen."""
    page.locator(".place", has_text=re.compile(f"^{place} of ")).wait_for()


def pressed(page: "playwright.Page") -> list[str]:
    return page.eval_on_selector_all("[aria-pressed=true]", "(all) => all.map((one) => one.dataset.instrument)")


def text_of(folder: Path) -> str:
    return (folder / "labels.csv").read_text()


def press(page: "playwright.Page", key: str) -> None:
    """Press a key and wait until the server has answered; the page shows the answer a moment later."""
    with page.expect_response(lambda response: "/tarkib/labels" in response.url and response.request.method == "POST"):
        page.keyboard.press(key)


# What plays when


def test_a_recording_becomes_a_picture_that_one_can_hear(opened, folder, tmp_path):
    page = opened(tab="What plays when")
    hear(page, write(tmp_path / "Golha (012).wav", tone(20.0, silent_from=10.0), RATE))
    assert page.locator(".tarkib-heard h2").inner_text() == "Golha (012).wav"
    names = page.locator(".names li")
    assert names.count() == 10
    assert [one.split() for one in names.all_inner_texts()] == [[name, PERSIAN[name]] for name in INSTRUMENTS]
    assert page.locator(".names .plays").all_inner_texts() == names.all_inner_texts()[:1]
    assert page.locator("svg path.strong[d^=M]").count() == 1
    assert page.locator("svg rect.unknown").count() == 1
    rows = page.locator(".segments tbody tr").all_inner_texts()
    assert [row.split() for row in rows] == [["ney", PERSIAN["ney"], "0:00", "0:11", rows[0].split()[-1]]]

    assert left_of_playhead(page) == 0
    for second in (5.0, 15.0, 2.0):
        page.evaluate(f"document.querySelector('.tarkib-heard audio').currentTime = {second}")
        page.wait_for_function(
            f"Math.abs(parseFloat(document.querySelector('.playhead').style.left) - {100 * second / 20}) < 0.5"
        )
    box = page.locator(".seek").bounding_box()
    head = page.locator(".playhead").bounding_box()
    assert head["x"] + head["width"] / 2 == pytest.approx(box["x"] + box["width"] * 0.1, abs=2)


def test_a_click_hears_from_there_and_the_playhead_follows(opened, folder, tmp_path):
    page = opened(tab="What plays when")
    hear(page, write(tmp_path / "song.wav", tone(20.0, silent_from=10.0), RATE))
    width = page.locator(".seek").bounding_box()["width"]
    page.evaluate(_SLOWLY)
    page.locator(".seek").click(position={"x": width / 4, "y": 50})
    page.wait_for_function("!document.querySelector('.tarkib-heard audio').paused")
    page.wait_for_function("parseFloat(document.querySelector('.playhead').style.left) > 25.5")
    assert page.locator(".names .now").all_inner_texts() == page.locator(".names li").all_inner_texts()[:1]
    page.locator(".seek").focus()
    page.keyboard.press(" ")
    page.wait_for_function("document.querySelector('.tarkib-heard audio').paused")
    page.wait_for_selector(".names .now", state="detached")
    page.locator(".from").first.click()
    page.wait_for_function("document.querySelector('.tarkib-heard audio').currentTime < 4")


def test_the_keyboard_seeks(opened, folder, tmp_path):
    page = opened(tab="What plays when")
    hear(page, write(tmp_path / "song.wav", tone(20.0), RATE))
    slider = page.get_by_role("slider", name="Position in the recording")
    slider.focus()
    for key, second in (("ArrowRight", 1), ("PageUp", 11), ("ArrowLeft", 10), ("End", 20), ("Home", 0)):
        page.keyboard.press(key)
        page.wait_for_function(f"Math.abs(document.querySelector('.tarkib-heard audio').currentTime - {second}) < 0.05")
        assert float(slider.get_attribute("aria-valuenow")) == pytest.approx(second, abs=0.05)
    assert slider.get_attribute("aria-valuetext") == "0:00 of 0:20"


def test_what_was_heard_can_be_taken_away(opened, folder, tmp_path):
    page = opened(tab="What plays when")
    hear(page, write(tmp_path / "song.aiff", tone(6.0), RATE))
    with page.expect_download() as download:
        page.locator("#csv").click()
    assert download.value.suggested_filename == "song.csv"
    (row,) = csv.DictReader(io.StringIO(Path(download.value.path()).read_text()))
    assert {**row, "probability": ""} == {
        "file": "song.aiff",
        "instrument": "ney",
        "start_s": "0.000",
        "end_s": "6.000",
        "probability": "",
    }
    with page.expect_download() as download:
        page.locator("#json").click()
    told = json.loads(Path(download.value.path()).read_text())
    assert (told["file"], told["seconds"], len(told["windows"])) == ("song.aiff", 6.0, 2)
    # No browser plays AIFF; what is played was made of it.
    assert page.evaluate("document.querySelector('.tarkib-heard audio').duration") == pytest.approx(6.0, abs=0.01)


def test_what_was_heard_before_takes_no_room(opened, folder, model, tmp_path, monkeypatch):
    from tarkib.app import routes

    dropped, drop = threading.Condition(), routes.Sounds.drop

    def drop_and_tell(*of: object) -> None:
        drop(*of)
        with dropped:
            dropped.notify_all()

    def kept() -> list[str]:
        # Files go while this looks, which rglob does not bear. Gradio leaves a temporary file, which is empty.
        files = [name for _, _, files in os.walk(scratch) for name in files if not name.startswith("tmp")]
        return sorted("flac" if name.endswith(".flac") else name for name in files)

    def is_emptied() -> bool:
        with dropped:
            return dropped.wait_for(lambda: not kept(), _PATIENCE_S)

    monkeypatch.setattr(routes.Sounds, "drop", drop_and_tell)
    # A player may still ask for the sound of what is taken away.
    opened.foreseen.append("404 .*/tarkib/sound/")
    # A server of its own: the pages of other tests may still be leaving theirs.
    with served(folder, model) as where:
        scratch = Path(os.environ["GRADIO_TEMP_DIR"]).parent
        page = opened(where, tab="What plays when")
        for number in range(3):
            song = write(tmp_path / f"room{number}.aiff", tone(6.0 + number), RATE)
            upload(page, song)
            page.wait_for_selector(f".tarkib-heard h2:text('room{number}.aiff')")
        page.wait_for_selector("#csv")
        assert kept() == ["flac", "room2.aiff", "room2.csv", "room2.json"]
        page.get_by_role("button", name="Clear").first.click()
        assert is_emptied()
        page.wait_for_selector(".tarkib-heard", state="detached")
        upload(page, song)
        page.wait_for_selector(".tarkib-heard")
        assert kept() == ["flac", "room2.aiff", "room2.csv", "room2.json"]
        page.close()
        assert is_emptied()


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("text.wav", lambda path: path.write_text("no music"), "text.wav: cannot be decoded"),
        ("picture.png", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)), "picture.png: cannot be"),
        ("empty.wav", lambda path: path.touch(), "empty.wav: the file is empty"),
        ("cut.wav", lambda path: path.write_bytes(wav(3.0)[:9_000]), "cut.wav: is cut short"),
        ("long.wav", lambda path: path.write_bytes(wav(61.0)), "long.wav: is 1:01 or longer, and at most 1 minutes"),
        ("large.wav", lambda path: path.write_bytes(wav(75.0)), "large.wav: has 1.2 MB, and at most 1 MB"),
    ],
)
def test_what_cannot_be_heard_is_one_message_and_the_next_is_heard(opened, folder, tmp_path, name, make, said):
    page = opened(tab="What plays when")
    make(tmp_path / name)
    upload(page, tmp_path / name)
    page.wait_for_selector("#heard .tarkib-message")
    messages = page.get_by_role("alert").filter(visible=True).all_inner_texts()
    assert len(messages) == 1
    assert messages[0].startswith(said)
    hear(page, write(tmp_path / "good.wav", tone(6.0), RATE))
    assert page.locator(".tarkib-message:visible").count() == 0


def wav(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, tone(seconds), RATE, format="WAV")
    return file.getvalue()


def test_a_name_is_never_markup(opened, folder, tmp_path):
    page = opened(tab="What plays when")
    hear(page, write(tmp_path / "<img src=x onerror=alert(1)>.wav", tone(6.0), RATE))
    assert page.locator(".tarkib-heard img").count() == 0
    assert "alert" in page.locator(".tarkib-heard h2").inner_text()


def test_without_a_model_the_page_says_what_to_do_and_labels(opened, folder, tmp_path):
    with served(folder, tmp_path / "absent") as where:
        page = opened(where, tab="What plays when")
        assert "absent: no such model; run dvc repro" in page.get_by_role("alert").filter(visible=True).inner_text()
        assert page.locator("#recording").count() == 0
        page.get_by_role("tab", name="Label").click()
        at(page, 1)
        press(page, "2")
        assert text_of(folder) == f"{HEADING}\na,,0,1,0,0,0,0,0,0,0,0\n"
        page.close()  # before its server goes, which it would tell


# Labels


def test_every_key_is_in_the_file_at_once(opened, folder):
    page = opened()
    at(page, 1)
    assert not (folder / "labels.csv").exists()
    assert page.locator(".state").inner_text() == "not labelled yet"
    told = [0] * 10
    for key, k in [("2", 1), ("0", 9), ("1", 0), ("2", 1), ("9", 8)]:
        press(page, key)
        told[k] = 1 - told[k]
        assert text_of(folder) == f"{HEADING}\na,,{','.join(map(str, told))}\n"
        page.wait_for_function(f"document.querySelectorAll('[aria-pressed=true]').length === {sum(told)}")
    assert pressed(page) == ["ney", "setar", "avaz"]
    assert page.locator(".state").inner_text() == "labelled"
    assert page.locator(".count").inner_text() == "1 labelled"


def test_enter_confirms_and_arrows_only_move(opened, folder):
    page = opened()
    at(page, 1)
    for key, place in (("ArrowRight", 2), ("n", 3), ("ArrowLeft", 2), ("p", 1), ("p", 1)):
        page.keyboard.press(key)
        at(page, place)
    assert not (folder / "labels.csv").exists()
    assert page.get_by_role("button", name="Nothing plays, next").is_visible()
    page.keyboard.press("Enter")
    at(page, 2)
    assert text_of(folder) == f"{HEADING}\na,,0,0,0,0,0,0,0,0,0,0\n"
    press(page, "6")
    page.keyboard.press("Enter")
    at(page, 3)
    page.keyboard.press("ArrowLeft")
    at(page, 2)
    assert pressed(page) == ["tonbak"]
    page.keyboard.press("p")
    at(page, 1)
    assert page.locator(".state").inner_text() == "labelled: nothing plays"
    page.keyboard.press("u")
    at(page, 3)
    assert testset.load(folder).targets.tolist() == [[0] * 10, [0, 0, 0, 0, 0, 1, 0, 0, 0, 0]]


def dispatch(page: "playwright.Page", *keys: dict) -> None:
    page.evaluate(
        """(keys) => { for (const key of keys)
          document.body.dispatchEvent(new KeyboardEvent("keydown", { bubbles: true, cancelable: true, ...key })); }""",
        list(keys),
    )


def test_keys_are_where_they_are_whatever_they_write(opened, folder):
    page = opened()
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
    dispatch(page, {"key": "8", "code": "Numpad8"}, {"key": "ع", "code": "KeyU"})
    at(page, 3)
    page.wait_for_function("document.querySelector('.count').textContent === '2 labelled'")
    assert text_of(folder).splitlines()[1:] == ["a,,1,1,0,0,0,0,0,0,0,1", "b,,0,0,1,1,0,0,0,1,0,0"]


def test_keys_pressed_faster_than_the_server_answers_mean_the_next_excerpt(opened, folder):
    page = opened()
    at(page, 1)
    dispatch(page, *({"key": key} for key in ("1", "2", "Enter", "3", "Enter", "Enter", "4")))
    page.wait_for_function("document.querySelector('.count').textContent === '4 labelled'")
    assert text_of(folder).splitlines()[1:] == [
        "a,,1,1,0,0,0,0,0,0,0,0",
        "b,,0,0,1,0,0,0,0,0,0,0",
        "c,,0,0,0,0,0,0,0,0,0,0",
        "sub/d,,0,0,0,1,0,0,0,0,0,0",
    ]
    assert "All 4 excerpts are labelled" in page.locator(".notice").inner_text()


def test_opened_again_and_started_again_it_goes_on_where_labels_end(opened, folder, model):
    page = opened()
    at(page, 1)
    press(page, "1")
    page.keyboard.press("Enter")
    at(page, 2)
    page.keyboard.press("Enter")
    at(page, 3)
    page.reload()
    page.get_by_role("tab", name="Label").click()
    at(page, 3)
    with served(folder, model, label=True) as where:
        again = opened(where)
        at(again, 3)
        again.keyboard.press("p")
        at(again, 2)
        again.keyboard.press("p")
        at(again, 1)
        assert pressed(again) == ["ney"]
        again.close()  # before its server goes, which it would tell


def test_the_mouse_does_what_the_keys_do(opened, folder):
    page = opened()
    at(page, 1)
    page.get_by_role("button", name="santur").click()
    page.wait_for_selector("[data-instrument=santur][aria-pressed=true]")
    # The key that replays must not press the button that was clicked.
    page.keyboard.press(" ")
    # Not whether it plays now: it may have come to its end.
    page.wait_for_function("document.querySelector('.tarkib-labelling audio').played.length")
    page.get_by_label("Cut from").fill("golha 012")
    page.get_by_role("button", name="Confirm and next").click()
    at(page, 2)
    assert text_of(folder).splitlines()[1] == "a,golha 012,0,0,1,0,0,0,0,0,0,0"
    assert page.get_by_label("Cut from").input_value() == ""
    page.get_by_role("button", name="Back").click()
    at(page, 1)
    assert page.get_by_label("Cut from").input_value() == "golha 012"
    page.get_by_role("button", name="Remove its label").click()
    page.wait_for_function("document.querySelector('.state').textContent === 'not labelled yet'")
    assert text_of(folder) == HEADING + "\n"


def test_what_was_typed_before_the_first_label_waits_for_it(opened, folder):
    page = opened()
    at(page, 1)
    field, draft = page.get_by_label("Cut from"), page.locator(".draft")
    assert draft.is_hidden()
    field.fill("golha  012")
    assert draft.inner_text() == "saved with the first label"
    page.keyboard.press("Enter")
    with page.expect_response(lambda response: re.search(r"/tarkib/labels/\w+$", response.url)):
        page.evaluate("window.dispatchEvent(new Event('focus'))")  # as when one comes back from another window
    page.get_by_role("button", name="Skip").click()
    at(page, 2)
    assert (field.input_value(), draft.is_hidden()) == ("", True)
    page.keyboard.press("p")
    at(page, 1)
    assert field.input_value() == "golha  012"
    assert draft.is_visible()
    press(page, "1")
    page.wait_for_selector(".draft", state="hidden")
    assert field.input_value() == "golha 012"
    assert text_of(folder).splitlines()[1:] == ["a,golha 012,1,0,0,0,0,0,0,0,0,0"]
    field.fill("")
    with page.expect_response(lambda response: response.request.method == "POST"):
        page.keyboard.press("Enter")
    page.keyboard.press("n")
    at(page, 2)
    page.keyboard.press("p")
    at(page, 1)
    assert field.input_value() == ""
    assert text_of(folder).splitlines()[1:] == ["a,,1,0,0,0,0,0,0,0,0,0"]


def test_what_is_typed_is_no_key(opened, folder):
    page = opened()
    at(page, 1)
    press(page, "1")
    field = page.get_by_label("Cut from")
    field.click()
    page.keyboard.type("12 p n u")
    with page.expect_response(lambda response: response.request.method == "POST"):
        page.keyboard.press("Enter")
    assert text_of(folder).splitlines()[1:] == ["a,12 p n u,1,0,0,0,0,0,0,0,0,0"]
    page.keyboard.press("ArrowRight")
    at(page, 2)


def test_what_is_typed_while_the_first_label_is_on_its_way_is_saved_too(opened, folder):
    page = opened()
    at(page, 1)
    with page.expect_response(lambda response: "golha" in (response.request.post_data or "")):
        # The key has asked the server when the promises before it are kept; no answer comes before this ends.
        page.evaluate(
            """async () => {
              document.body.dispatchEvent(new KeyboardEvent("keydown", { bubbles: true, key: "1" }));
              for (let k = 0; k < 50; k += 1) await null;
              const field = document.querySelector(".recording");
              field.value = "golha 012";
              for (const type of ["input", "change"]) field.dispatchEvent(new Event(type));
            }"""
        )
    assert text_of(folder).splitlines()[1:] == ["a,golha 012,1,0,0,0,0,0,0,0,0,0"]
    page.wait_for_selector(".draft", state="hidden")


def test_a_button_reached_with_the_keyboard_is_pressed_with_it(opened, folder):
    page = opened()
    at(page, 1)
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.dataset.instrument === 'tar'"):
            break
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    press(page, " ")
    assert text_of(folder).splitlines()[1:] == ["a,,0,1,0,0,0,0,0,0,0,0"]
    press(page, "Enter")
    assert text_of(folder).splitlines()[1:] == ["a,,0,0,0,0,0,0,0,0,0,0"]
    at(page, 1)


def test_every_excerpt_sounds_and_where_wished_at_once(opened, folder):
    page = opened()
    audio = "document.querySelector('.tarkib-labelling audio')"
    for place in range(1, 5):
        at(page, place)
        page.wait_for_function(f"{audio}.readyState >= 2 && Math.abs({audio}.duration - 5) < 0.02")
        assert page.evaluate(f"{audio}.paused")
        page.keyboard.press("n")
    page.get_by_label("Play each at once").check()
    page.keyboard.press("p")
    at(page, 3)
    # Not whether it plays now: it may have come to its end.
    page.wait_for_function(f"{audio}.played.length && {audio}.played.end(0) > 0.05")
    page.reload()
    page.get_by_role("tab", name="Label").click()
    at(page, 1)
    assert page.get_by_label("Play each at once").is_checked()


def test_two_pages_lose_nothing(opened, folder):
    one, other = opened(), opened()
    at(one, 1)
    at(other, 1)
    press(one, "1")
    press(other, "2")
    press(one, "3")
    press(other, "Enter")
    at(other, 2)
    press(other, "4")
    press(one, "5")
    assert text_of(folder).splitlines()[1:] == ["a,,1,1,1,0,1,0,0,0,0,0", "b,,0,0,0,1,0,0,0,0,0,0"]
    one.wait_for_function("document.querySelectorAll('[aria-pressed=true]').length === 4")


def test_another_program_s_change_is_told_and_kept(opened, folder):
    page = opened()
    at(page, 1)
    press(page, "1")
    (folder / "labels.csv").write_text(
        "sample_id,oud,santoor,tar,difficulty\nb.wav,1,0.5,0,hard\na,0,0,1,\n", encoding="utf-8"
    )
    press(page, "3")
    page.wait_for_function("document.querySelector('.notice').textContent.includes('changed by another program')")
    assert text_of(folder) == "sample_id,oud,santoor,tar,difficulty\nb.wav,1,0.5,0,hard\na,0,1,1,\n"
    assert page.locator(".instrument:disabled").count() == 8
    assert "has no column for ney, kamancheh, daf" in page.locator(".without").inner_text()
    page.keyboard.press("1")
    page.keyboard.press("n")
    at(page, 2)
    soft = page.locator("[data-instrument=santur]")
    assert soft.get_attribute("aria-pressed") == "mixed"
    assert "0.5" in soft.inner_text()
    press(page, "Enter")
    assert text_of(folder) == "sample_id,oud,santoor,tar,difficulty\nb.wav,1,0.5,0,hard\na,0,1,1,\n"


def test_a_damaged_table_is_told_and_left(opened, folder):
    damaged = f"{HEADING}\na,,1,0,0,0,0,0,0,0,0,yes\n"
    (folder / "labels.csv").write_text(damaged)
    opened.foreseen.append("409 .*/tarkib/labels$")
    page = opened()
    message = page.locator(".tarkib-labelling .tarkib-message")
    message.wait_for()
    assert "labels.csv, line 2: avaz is 'yes'; write 1 (plays), 0" in message.inner_text()
    assert page.locator(".desk").is_hidden()
    page.keyboard.press("1")
    assert text_of(folder) == damaged
    (folder / "labels.csv").write_text(damaged.replace("yes", "1"))
    page.reload()
    page.get_by_role("tab", name="Label").click()
    at(page, 2)


def test_a_folder_without_excerpts_says_what_belongs_there(opened, folder):
    shutil.rmtree(folder)
    opened.foreseen.append("409 .*/tarkib/labels$")
    page = opened()
    message = page.locator(".tarkib-labelling .tarkib-message")
    message.wait_for()
    assert "no such folder; make it and put five-second excerpts into it" in message.inner_text()


def test_a_server_that_is_gone_is_told(opened, folder, model):
    opened.foreseen.append("net::ERR_")
    with served(folder, model, label=True) as where:
        page = opened(where)
        at(page, 1)
    page.keyboard.press("1")
    page.wait_for_function(
        "document.querySelector('.tarkib-labelling .tarkib-message').textContent.includes('not saved')"
    )
    assert pressed(page) == []
    assert not (folder / "labels.csv").exists()


def test_an_answer_that_was_not_foreseen_is_told_in_words(opened, folder, monkeypatch):
    from tarkib.app import routes

    page = opened()
    at(page, 1)
    opened.foreseen.append("500 .*/tarkib/labels/")
    message = page.locator(".tarkib-labelling .tarkib-message")
    with monkeypatch.context() as patch:
        patch.setattr(routes.Desk, "change", None)
        page.keyboard.press("1")
        message.wait_for()
        assert message.inner_text().startswith("tarkib app could not do that (500); its terminal says why.")
        # It stays though one leaves a field, or comes back from the terminal and the page looks again.
        page.get_by_label("Cut from").fill("golha 012")
        page.keyboard.press("Enter")
        (folder / "labels.csv").write_text(f"{HEADING}\nb,,1,0,0,0,0,0,0,0,0,0\n")
        page.evaluate("window.dispatchEvent(new Event('focus'))")
        page.wait_for_function("document.querySelector('.notice').textContent.includes('changed by another program')")
        assert message.is_visible()
    page.keyboard.press("1")
    message.wait_for(state="hidden")


def test_names_of_excerpts_are_shown_as_they_are(opened, folder):
    shutil.rmtree(folder)
    names = ["-dash 'n\" quote.wav", "<img src=x onerror=alert(1)>.wav", "two\nlines.wav", "سه‌گاه.wav", "e\u0301.wav"]
    for name in names:
        write(folder / name, tone(0.2), RATE)
    (folder / os.fsdecode(b"latin-\xe9.wav")).write_bytes((folder / names[0]).read_bytes())
    shown = []
    opened.foreseen.append("404 .*/sound$")
    page = opened()
    for place in range(1, 7):
        at(page, place)
        shown.append(page.locator(".tarkib-labelling h2").evaluate("(one) => one.textContent"))
        assert page.locator(".tarkib-labelling img").count() == 0
        if shown[-1].startswith("latin"):
            assert page.locator(".length").inner_text().startswith("The name of this file is no text")
        page.keyboard.press("n")
    assert sorted(shown) == sorted([*names, "latin-\\xe9.wav"])


def test_a_long_excerpt_is_remarked_on(opened, folder):
    write(folder / "a.wav", tone(12.0), RATE)
    page = opened()
    at(page, 1)
    assert page.locator(".length").inner_text().startswith("This excerpt is 12.0 s long; the pipeline averages")
    page.keyboard.press("n")
    at(page, 2)
    assert page.locator(".length").is_hidden()


# How it looks


@pytest.mark.parametrize("width", [320, 400, 700, 1280])
def test_the_page_is_never_wider_than_the_screen(opened, folder, tmp_path, width):
    page = opened(width=width)
    at(page, 1)
    wide = "document.documentElement.scrollWidth"
    assert page.evaluate(wide) <= width
    page.get_by_role("tab", name="What plays when").click()
    hear(page, write(tmp_path / f"{'long-name' * 20}.wav", tone(20.0), RATE))
    page.wait_for_selector("#json")
    assert page.evaluate(wide) <= width
    # The table scrolls in a box of its own where it must.
    cut = "(all) => all.filter((one) => one.scrollWidth > one.clientWidth + 1).map((one) => one.outerHTML)"
    assert page.eval_on_selector_all(".names li, .instrument", cut) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened, folder, tmp_path, scheme):
    """WCAG 2.2, contrast (minimum): 4.5 to 1."""
    # A player may still ask for the sound of what is taken away.
    opened.foreseen.append("404 .*/tarkib/sound/")
    page = opened(color_scheme=scheme)
    at(page, 1)
    press(page, "2")
    page.wait_for_selector("[aria-pressed=true]")
    worst = {}
    worst["label"] = page.evaluate(_CONTRAST, ".tarkib-labelling")
    page.get_by_role("tab", name="What plays when").click()
    hear(page, write(tmp_path / "song.wav", tone(20.0, silent_from=10.0), RATE))
    page.evaluate(_SLOWLY)
    page.evaluate("document.querySelector('.tarkib-heard audio').play()")
    page.wait_for_selector(".names .now")
    worst["heard"] = page.evaluate(_CONTRAST, ".tarkib-heard")
    upload(page, folder / "labels.csv")
    page.wait_for_selector("#heard .tarkib-message")
    worst["message"] = page.evaluate(_CONTRAST, "#heard")
    # Black on white is 21; where no text was found it is infinite.
    assert all(4.5 <= one <= 21 for one in worst.values()), worst


_CONTRAST = """(within) => {
  const part = (n) => (n /= 255) <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4;
  const light = (c) => {
    const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
    return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  };
  const ground = (one) => {
    const c = getComputedStyle(one).backgroundColor;
    return c === "rgba(0, 0, 0, 0)" ? ground(one.parentElement) : c;
  };
  const text = [...document.querySelector(within).querySelectorAll("*")].filter((one) => one.checkVisibility()
    && !one.closest("button:disabled, svg, datalist")
    && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
  return Math.min(...text.map((one) => {
    const [a, b] = [light(getComputedStyle(one).color), light(ground(one))].sort((a, b) => b - a);
    return (a + 0.05) / (b + 0.05);
  }));
}"""
