"""The page: one tab to see what plays when in a recording, one to label excerpts."""

import os
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import gradio

from tarkib import audio
from tarkib.app import markup, timeline
from tarkib.app.hearing import Hearings, Limits, hear
from tarkib.app.routes import LABELS, Sounds
from tarkib.errors import TarkibError
from tarkib.recognition import Recogniser, formats
from tarkib.runtime.text import clock
from tarkib.vocabulary import INSTRUMENTS

UPLOADS = "GRADIO_TEMP_DIR"
"""The variable of the environment that tells Gradio where to keep uploads."""

# Fonts of the reader's machine: Gradio's own theme would ask Google for some.
_SANS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Helvetica Neue", "Arial", "sans-serif")
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "Liberation Mono", "monospace")


def theme() -> gradio.themes.Base:
    """Gradio's plain look in the colours of Tarkib's other pages."""
    return gradio.themes.Default(
        primary_hue="cyan",
        neutral_hue="stone",
        font=[gradio.themes.Font(name) for name in _SANS],
        font_mono=[gradio.themes.Font(name) for name in _MONO],
    )


def head() -> str:
    """Style and scripts, for the head of the page."""
    return (
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f"<style>{_file('page.css')}</style><script>{_file('timeline.js')}</script>"
        f"<script>{_file('labelling.js')}</script>"
    )


def build(recogniser: Recogniser | None, missing: str, limits: Limits, sounds: Sounds, label: bool) -> gradio.Blocks:
    """The page.

    Parameters
    ----------
    recogniser : None where there is none; then `missing` says why.
    limits : of recordings.
    sounds : where what was heard can be played from.
    label : whether to show the tab for labels first.
    """
    with gradio.Blocks(title="Tarkib", analytics_enabled=False, delete_cache=(3_600, 86_400)) as page:
        _html('<header class="tarkib-top"><h1>Tarkib <span lang="fa" dir="rtl">ترکیب</span></h1></header>')
        with gradio.Tabs(selected="label" if label else "hear"):
            with gradio.Tab("What plays when", id="hear"):
                _hearing(page, recogniser, missing, limits, sounds)
            with gradio.Tab("Label", id="label"):
                _html(_labelling(), js_on_load="tarkibLabelling(element)")
    return page


def _html(value: str = "", **options: Any) -> gradio.HTML:
    """Text of the page's own, which `page.css` alone dresses."""
    return gradio.HTML(value, apply_default_css=False, **{"js_on_load": None, **options})


def _hearing(page: gradio.Blocks, recogniser: Recogniser | None, missing: str, limits: Limits, sounds: Sounds) -> None:
    if recogniser is None:
        _html(
            markup.message(missing)
            + '<p class="tarkib-hint">Recordings can be heard once there is a model: run <code>dvc repro</code>, or '
            "name another with <code>tarkib app --model</code>, and start the app again. Labelling works without.</p>"
        )
        return
    endings = ", ".join(sorted(suffix[1:] for suffix in audio.SUFFIXES))
    _html(
        '<p class="soft">Which of ten instruments of Persian music play when. The recording is heard on this machine '
        f"and sent nowhere. Taken are {endings}; of a video the sound is heard.</p>"
    )
    upload = gradio.File(
        label=f"A recording: at most {limits.minutes} minutes, {limits.megabytes:,} MB",
        elem_id="recording",
        height=160,
    )
    upload.async_move_resource_to_block_cache = _only_uploaded
    result = _html(elem_id="heard", min_height=120)
    with gradio.Row():
        csv = gradio.DownloadButton("Segments as CSV", visible=False, size="md", elem_id="csv")
        json = gradio.DownloadButton("Everything as JSON", visible=False, size="md", elem_id="json")
    outputs = [result, csv, json]
    hearings = Hearings()

    def heard(file: str, request: gradio.Request, progress=gradio.Progress()) -> Sequence[Any]:  # noqa: B008
        def tell(seconds: float, whole: float) -> None:
            share = min(seconds / whole, 1.0) if whole else 0.0
            progress(share, desc=f"heard {clock(seconds)}" + (f" of {clock(whole)}" if whole else ""))

        progress(0.0, desc="reading")
        with hearings.of(request.session_hash) as hearing:
            made = sounds.begin(request.session_hash, Path(file))
            shown = _shown(recogniser, Path(file), limits, sounds, made, hearing.watch(tell))
        if hearing.wanted:
            return shown
        sounds.drop(request.session_hash)
        return [gradio.skip()] * 3

    def cleared(request: gradio.Request) -> Sequence[Any]:
        left(request)
        return "", *_nothing()

    def left(request: gradio.Request) -> None:
        # A hearing that is under way drops its files itself when it has ended.
        if not hearings.stop(request.session_hash):
            sounds.drop(request.session_hash)

    private = {"api_visibility": "private"}
    upload.upload(heard, upload, outputs, show_progress_on=result, concurrency_limit=1, **private)
    upload.clear(cleared, None, outputs, queue=False, show_progress="hidden", **private)
    page.unload(left)


async def _only_uploaded(named: str) -> str:
    """The path that a browser names, if it is of a file that was uploaded.

    In its place Gradio would copy any file of this machine, or fetch one from elsewhere.
    """
    if not Path(named).resolve().is_relative_to(Path(os.environ[UPLOADS]).resolve()):
        raise gradio.Error("That file was not uploaded.")
    return named


def _shown(
    recogniser: Recogniser,
    path: Path,
    limits: Limits,
    sounds: Sounds,
    made: Path,
    progress: Callable[[float, float], None],
) -> Sequence[Any]:
    """What to show of a recording: the result, and two files to download, which are put into `made`."""
    try:
        found = hear(recogniser, path, limits, progress)
        source = sounds.add(path, made)
    except TarkibError as error:
        return markup.message(str(error)), *_nothing()
    files = []
    for kind, written in (("csv", formats.csv), ("json", formats.json)):
        target = made / f"{path.stem}.{kind}"
        target.write_text(written(found, path.name), encoding="utf-8")
        files.append(gradio.DownloadButton(value=str(target), visible=True))
    return timeline.section(found, path.name, source), *files


def _nothing() -> list[gradio.DownloadButton]:
    return [gradio.DownloadButton(value=None, visible=False)] * 2


def _labelling() -> str:
    """The tab for labels, which the script fills."""
    buttons = "".join(
        f'<button type="button" class="instrument" aria-pressed="false" data-instrument="{word}" '
        f'aria-keyshortcuts="{(k + 1) % 10}"><kbd>{(k + 1) % 10}</kbd>{markup.name(word)}<span class="degree"></span>'
        "</button>"
        for k, word in enumerate(INSTRUMENTS)
    )
    return (
        f'<section class="tarkib-labelling" data-labels="{LABELS}" aria-label="Label excerpts">'
        '<p class="tarkib-message" role="alert" hidden></p><p class="notice" role="status" hidden></p>'
        '<div class="desk" hidden><div class="progress"><strong class="place"></strong>'
        '<progress aria-label="Labelled excerpts"></progress><span class="count"></span></div>'
        '<div class="excerpt"><h2 dir="auto"></h2><span class="state" role="status"></span></div>'
        '<audio controls preload="auto" aria-label="The excerpt"></audio>'
        '<p class="length soft" hidden></p>'
        f'<div class="instruments" role="group" aria-label="What plays?">{buttons}</div>'
        '<p class="without soft" hidden></p>'
        '<div class="moves">'
        '<button type="button" data-move="back" aria-keyshortcuts="p ArrowLeft">Back <kbd>←</kbd></button>'
        '<button type="button" data-move="next" aria-keyshortcuts="n ArrowRight">Skip <kbd>→</kbd></button>'
        '<button type="button" data-move="first_unlabelled" aria-keyshortcuts="u">'
        "First unlabelled <kbd>u</kbd></button>"
        '<button type="button" data-move="replay" aria-keyshortcuts="Space">Replay <kbd>space</kbd></button>'
        '<button type="button" data-move="confirm" class="primary" aria-keyshortcuts="Enter">'
        "<span>Confirm and next</span> <kbd>enter</kbd></button></div>"
        '<div class="more"><label>Cut from <input type="text" class="recording" list="tarkib-recordings" '
        'maxlength="200" autocomplete="off" placeholder="recording (optional)" dir="auto">'
        '<datalist id="tarkib-recordings"></datalist></label>'
        '<span class="draft soft" role="status" hidden></span>'
        '<label><input type="checkbox" class="autoplay"> Play each at once</label>'
        '<button type="button" data-move="remove" class="quiet">Remove its label</button></div>'
        '<p class="soft hint">Press all that play. An excerpt counts as labelled once an instrument was pressed or '
        "<kbd>enter</kbd> confirmed it; confirmed with none pressed it says that nothing plays. "
        "<kbd>←</kbd> and <kbd>→</kbd> (<kbd>p</kbd>, <kbd>n</kbd>) only move. Every change is saved at once in "
        '<code class="file"></code>.</p></div></section>'
    )


def _file(name: str) -> str:
    return resources.files("tarkib.app").joinpath(name).read_text("utf-8")
