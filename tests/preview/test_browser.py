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
    with chromium() as driven:
        yield driven


@pytest.fixture(scope="module")
def addresses(mixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Addresses of a page of mixtures and of one of slices."""
    out = tmp_path_factory.mktemp("pages")
    for kind in ("mixtures", "slices"):
        page = out / f"{kind}.html"
        assert main(["preview", str(mixtures.parent / kind), "--count", "4", "--out", str(page)]) == 0
    return {kind: (out / f"{kind}.html").as_uri() for kind in ("mixtures", "slices")}


@pytest.fixture
def opened(browser, addresses) -> Iterator[Callable]:
    """Open a page in a window of its own; at the end nothing must have gone wrong in it."""
    wrong, contexts = [], []

    def page(kind: str = "mixtures", width: int = 1280, **options: object) -> "playwright.Page":
        # The page forbids all scripts but its own, and wait_for_function is one.
        contexts.append(browser.new_context(viewport={"width": width, "height": 800}, bypass_csp=True, **options))
        contexts[-1].set_default_timeout(1_000 * _PATIENCE_S)
        new = contexts[-1].new_page()
        new.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        new.on("pageerror", lambda error: wrong.append(str(error)))
        new.on("requestfailed", lambda request: wrong.append(f"failed: {request.url[:80]}"))
        new.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
        new.goto(addresses[kind])
        return new

    yield page
    for context in contexts:
        context.close()
    assert wrong == []


def test_the_page_s_own_policy_lets_its_script_work_and_no_other(browser, addresses):
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(addresses["mixtures"])
        assert page.locator(_SEEK).get_attribute("role") == "slider"
        assert page.evaluate("document.querySelector('img').naturalWidth") == 800
        ready = page.evaluate(
            """() => new Promise((done) => {
              const player = document.querySelector("audio");
              player.oncanplay = player.onerror = () => done(player.readyState);
              player.preload = "auto";
              player.load();
            })"""
        )
        assert ready >= 3
        refused = page.evaluate(
            """() => new Promise((done) => {
              document.onsecuritypolicyviolation = (event) => done(event.effectiveDirective);
              const foreign = document.createElement("script");
              foreign.textContent = "window.foreign = 1";
              document.body.append(foreign);
              if (window.foreign) done("nothing");
            })"""
        )
        assert refused.startswith("script-src")
        assert page.evaluate("window.foreign") is None


def test_players_load_when_they_come_near_and_play_what_the_page_holds(opened):
    page = opened()
    last = "[...document.querySelectorAll('audio')].at(-1)"
    # Once the first is loaded, the page has seen which are near.
    page.wait_for_function("document.querySelector('audio').duration > 4")
    assert page.evaluate(f"[{last}.preload, {last}.readyState]") == ["none", 0]
    page.evaluate(f"{last}.scrollIntoView()")
    page.wait_for_function(f"{last}.duration > 4")
    page.evaluate("document.querySelectorAll('audio').forEach((player) => { player.preload = 'auto'; player.load(); })")
    page.wait_for_function("[...document.querySelectorAll('audio')].every((player) => player.readyState >= 3)")
    lengths = page.evaluate("[...document.querySelectorAll('audio')].map((player) => player.duration)")
    assert lengths == pytest.approx([5.0] * len(lengths), abs=0.01)
    assert set(page.evaluate("[...document.querySelectorAll('img')].map((image) => image.naturalWidth)")) == {800}


def test_one_player_sounds_at_a_time_and_the_playhead_follows_it(opened):
    page = opened()
    first, second = (f"document.querySelectorAll('audio')[{k}]" for k in (0, 1))
    left = "parseFloat(document.querySelector('.playhead').style.left)"
    page.evaluate(_ENDLESSLY)
    page.locator(_SEEK).click(position={"x": 300, "y": 50})
    begun = 100 * 300 / page.locator(_SEEK).bounding_box()["width"]
    page.wait_for_function(f"!{first}.paused && {left} > {begun + 2}")
    page.evaluate(f"void {second}.play()")
    page.wait_for_function(f"{first}.paused && {second}.currentTime > 0.05")
    assert not page.evaluate(f"{second}.paused")
    page.keyboard.press(" ")
    page.wait_for_function(f"{second}.paused")
    # It stops where the player did, which the page learns a moment later.
    page.wait_for_function(f"Math.abs({left} - 100 * {second}.currentTime / 5) < 0.5")


def test_the_keyboard_reaches_the_players_and_seeks(opened):
    page = opened()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.seek')"):
            break
    reached = page.locator(_SEEK)
    assert (
        reached.evaluate("(plot) => plot === document.activeElement && getComputedStyle(plot).outlineStyle") == "solid"
    )
    for key, time in (("ArrowRight", 0.25), ("PageUp", 1.25), ("ArrowLeft", 1.0), ("End", 5.0), ("Home", 0.0)):
        page.keyboard.press(key)
        page.wait_for_function(f"Math.abs(document.querySelector('audio').currentTime - {time}) < 0.02")
        assert float(reached.get_attribute("aria-valuenow")) == pytest.approx(time, abs=0.02)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement === document.querySelector('audio')")
    page.keyboard.press(" ")
    page.wait_for_function("document.querySelector('audio').currentTime > 0.05")


@pytest.mark.parametrize("kind", ["mixtures", "slices"])
@pytest.mark.parametrize("width", [320, 700, 1280])
def test_the_page_is_never_wider_than_the_screen(opened, kind, width):
    page = opened(kind, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Nor is a part cut off in a box of its own.
    cut = page.evaluate(
        """[...document.querySelectorAll('table, td, th, .plot')]
          .filter((box) => box.scrollWidth > box.clientWidth + 1 && !box.closest('.unseen'))
          .map((box) => box.outerHTML.slice(0, 200))"""
    )
    assert cut == []


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_the_page_follows_the_scheme_and_its_text_is_legible(opened, scheme, is_dark):
    """WCAG 2.2, contrast (minimum): 4.5 to 1. Persian runs from right to left."""
    page = opened(color_scheme=scheme)
    ground, worst, direction = page.evaluate(
        """() => {
          const part = (n) => (n /= 255) <= 0.04045 ? n / 12.92 : ((n + 0.055) / 1.055) ** 2.4;
          const light = (c) => {
            const [r, g, b] = c.match(/[\\d.]+/g).map(Number);
            return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
          };
          const ground = (box) => {
            const c = getComputedStyle(box).backgroundColor;
            return c === "rgba(0, 0, 0, 0)" ? ground(box.parentElement) : c;
          };
          const text = [...document.body.querySelectorAll("*")].filter((box) =>
            [...box.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) && box.tagName !== "SCRIPT");
          const worst = Math.min(...text.map((box) => {
            const [a, b] = [light(getComputedStyle(box).color), light(ground(box))].sort((a, b) => b - a);
            return (a + 0.05) / (b + 0.05);
          }));
          const persian = getComputedStyle(document.querySelector("article [lang=fa]"));
          return [light(ground(document.body)), worst, [persian.direction, persian.unicodeBidi]];
        }"""
    )
    assert ground < 0.05 if is_dark else ground > 0.7
    assert worst >= 4.5
    assert direction == ["rtl", "isolate"]
