"""The page in a real browser, opened as a file."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import chromium

from tarkib.cli import main

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.browser]

_SEEK = "article:first-of-type .seek"

# How long to wait for what must come: longer than the slowest machine takes, as only a failure waits for so long.
_PATIENCE_S = 120
# Clips that begin again: one that comes to its end stops, however slow the test is.
_ENDLESSLY = "document.querySelectorAll('audio').forEach((one) => { one.loop = true; })"


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    """A Chromium that is installed here."""
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def url(mixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a page of mixtures."""
    return _page(mixtures, tmp_path_factory)


@pytest.fixture(scope="module")
def slices_url(mixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a page of slices."""
    return _page(mixtures.parent / "slices", tmp_path_factory)


def _page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["preview", str(folder), "--count", "4", "--out", str(out)]) == 0
    return out.as_uri()


@pytest.fixture
def opened(browser, url: str) -> Iterator[Callable]:
    """Open the page in a window of its own; at the end nothing must have gone wrong in it."""
    wrong, contexts = [], []

    def page(width: int = 1280, address: str = url, **options: object) -> "playwright.Page":
        # The page forbids all scripts but its own, and wait_for_function is one.
        options = {"bypass_csp": True, **options}
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, **options))
        contexts[-1].set_default_timeout(1_000 * _PATIENCE_S)
        one = contexts[-1].new_page()
        one.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        one.on("pageerror", lambda error: wrong.append(str(error)))
        one.on("requestfailed", lambda request: wrong.append(f"failed: {request.url[:80]}"))
        one.on("request", lambda request: wrong.append(request.url[:80]) if is_foreign(request.url) else None)
        one.goto(address)
        return one

    def is_foreign(address: str) -> bool:
        return not address.startswith(("data:", "file:"))

    yield page
    for context in contexts:
        context.close()
    assert wrong == []


def test_the_page_s_own_policy_lets_it_work(opened):
    page = opened(bypass_csp=False)
    assert page.locator(_SEEK).get_attribute("role") == "slider"
    ready = page.evaluate(
        """() => new Promise((done) => {
          const one = document.querySelector("audio");
          one.addEventListener("canplay", () => done(one.readyState));
          one.addEventListener("error", () => done(0));
          one.preload = "auto";
          one.load();
        })"""
    )
    assert ready >= 3
    assert page.evaluate("document.querySelector('img').naturalWidth") == 800


def test_a_script_that_is_not_the_page_s_own_never_runs(browser, url):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        refused = page.evaluate(
            """() => new Promise((done) => {
              document.onsecuritypolicyviolation = (event) => done(event.effectiveDirective);
              const one = document.createElement("script");
              one.textContent = "window.foreign = 1";
              document.body.append(one);
              if (window.foreign) done("nothing");
            })"""
        )
        assert refused.startswith("script-src")
        assert page.evaluate("window.foreign") is None


def test_the_players_can_play_what_the_page_holds(opened):
    page = opened()
    page.evaluate("document.querySelectorAll('audio').forEach((one) => one.load() || (one.preload = 'auto'))")
    page.wait_for_function("[...document.querySelectorAll('audio')].every((one) => one.readyState >= 3)")
    lengths = page.evaluate("[...document.querySelectorAll('audio')].map((one) => one.duration)")
    assert lengths == pytest.approx([5.0] * len(lengths), abs=0.01)
    shown = page.evaluate(
        "[...document.querySelectorAll('img')].every((one) => one.complete && one.naturalWidth === 800)"
    )
    assert shown


def test_a_player_begins_to_load_when_it_comes_near(opened):
    page = opened()
    last = "[...document.querySelectorAll('audio')].at(-1)"
    # Once the first is loaded, the page has seen which are near.
    page.wait_for_function("document.querySelector('audio').duration > 4")
    assert page.evaluate(f"[{last}.preload, {last}.readyState]") == ["none", 0]
    page.evaluate(f"{last}.scrollIntoView()")
    page.wait_for_function(f"{last}.duration > 4")


def test_one_player_sounds_at_a_time(opened):
    page = opened()
    first, second = (f"document.querySelectorAll('audio')[{k}]" for k in (0, 1))
    page.evaluate(_ENDLESSLY)
    page.locator("body").click(position={"x": 1, "y": 1})
    page.evaluate(f"void {first}.play()")
    # Its playhead moves, so that the page knows that it plays.
    page.wait_for_function(f"!{first}.paused && parseFloat(document.querySelector('.playhead').style.left) > 1")
    page.evaluate(f"void {second}.play()")
    page.wait_for_function(f"{first}.paused && {second}.currentTime > 0.05")
    assert not page.evaluate(f"{second}.paused")


def test_the_playhead_follows_the_player(opened):
    page = opened()
    page.evaluate(_ENDLESSLY)
    page.locator(_SEEK).click(position={"x": 300, "y": 50})
    page.wait_for_function("!document.querySelector('audio').paused")
    width = page.locator(_SEEK).bounding_box()["width"]
    begun = 100 * 300 / width
    page.wait_for_function(f"parseFloat(document.querySelector('.playhead').style.left) > {begun + 2}")
    assert not page.evaluate("document.querySelector('audio').paused")
    page.keyboard.press(" ")
    page.wait_for_function("document.querySelector('audio').paused")
    # It stops where the player did, which the page learns a moment later.
    page.wait_for_function(
        "Math.abs(parseFloat(document.querySelector('.playhead').style.left)"
        " - 100 * document.querySelector('audio').currentTime / 5) < 0.5"
    )


def test_the_keyboard_reaches_the_players_and_seeks(opened):
    page = opened()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.seek')"):
            break
    focus = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert focus == "solid"
    reached = page.locator(_SEEK)
    assert reached.get_attribute("role") == "slider"
    assert reached.evaluate("(one) => one === document.activeElement")
    for key, time in (("ArrowRight", 0.25), ("PageUp", 1.25), ("ArrowLeft", 1.0), ("End", 5.0), ("Home", 0.0)):
        page.keyboard.press(key)
        page.wait_for_function(f"Math.abs(document.querySelector('audio').currentTime - {time}) < 0.02")
        assert float(reached.get_attribute("aria-valuenow")) == pytest.approx(time, abs=0.02)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement === document.querySelector('audio')")
    page.keyboard.press(" ")
    page.wait_for_function("document.querySelector('audio').currentTime > 0.05")


@pytest.mark.parametrize("width", [320, 700, 1280])
def test_the_page_is_never_wider_than_the_screen(opened, slices_url, width):
    check_widths(opened(width), width)
    check_widths(opened(width, slices_url), width)


def check_widths(page: "playwright.Page", width: int) -> None:
    """The page and each box of it are as wide as what is in them."""
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Nor is a part cut off in a box of its own.
    wide = (
        "[...document.querySelectorAll('table, td, th, .plot')].filter((one) => one.scrollWidth > one.clientWidth + 1)"
    )
    assert (
        page.evaluate(f"{wide}.filter((one) => !one.closest('.unseen')).map((one) => one.outerHTML.slice(0, 200))")
        == []
    )


def test_in_the_dark_the_page_is_dark(opened):
    grounds = [
        opened(color_scheme=one).evaluate("getComputedStyle(document.body).backgroundColor")
        for one in ("light", "dark")
    ]
    light, dark = ([int(n) for n in one[4:-1].split(",")] for one in grounds)
    assert min(light) > 220
    assert max(dark) < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(opened, scheme):
    """WCAG 2.2, contrast (minimum): 4.5 to 1."""
    worst = opened(color_scheme=scheme).evaluate(
        """() => {
          const part = (n) => (n /= 255) <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4;
          const light = (c) => {
            const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
            return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
          };
          const ground = (one) => {
            const c = getComputedStyle(one).backgroundColor;
            return c === "rgba(0, 0, 0, 0)" ? ground(one.parentElement) : c;
          };
          const text = [...document.body.querySelectorAll("*")].filter((one) =>
            [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) && one.tagName !== "SCRIPT");
          return Math.min(...text.map((one) => {
            const [a, b] = [light(getComputedStyle(one).color), light(ground(one))].sort((a, b) => b - a);
            return (a + 0.05) / (b + 0.05);
          }));
        }"""
    )
    assert worst >= 4.5


def test_persian_runs_from_right_to_left(opened):
    page = opened()
    name = page.locator("article [lang=fa]").first
    assert name.evaluate("(one) => getComputedStyle(one).direction") == "rtl"
    assert name.evaluate("(one) => getComputedStyle(one).unicodeBidi") == "isolate"
    assert page.evaluate("getComputedStyle(document.body).direction") == "ltr"
