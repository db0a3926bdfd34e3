"""Recognition of a recording that a page uploads: within limits, as HTML, and its sound as browsers play it.

The timeline is one SVG picture, as wide as the recording has seconds and one unit high for each instrument, stretched
over the page; `recognise.js` moves the playhead and seeks.
"""

import asyncio
import base64
import hashlib
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np
import soundfile

from tarkib import audio
from tarkib.errors import TarkibError
from tarkib.recognition import Recogniser, Recognition, formats, timeline
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.program import unforeseen
from tarkib.runtime.text import printable, time_step

_COLUMNS = 1_200  # more than a screen shows; of a longer recording each shows its maximum
_ROW = 0.84  # height of a row, which probability 1 fills

_PCM = {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT"}

# By libsndfile's names: the media type of each format, and the encodings that every current browser plays.
_PLAYED = {
    "WAV": ("audio/wav", _PCM),
    "WAVEX": ("audio/wav", _PCM),
    "FLAC": ("audio/flac", {"PCM_S8", "PCM_16", "PCM_24"}),
    "OGG": ("audio/ogg", {"VORBIS", "OPUS"}),
    "MP3": ("audio/mpeg", {"MPEG_LAYER_III"}),
}


class Limits(NamedTuple):
    """The longest (minutes) and largest (10^6 bytes) recording that is analysed."""

    minutes: int
    megabytes: int

    def check(self, *, seconds: float = 0.0, size: int = 0) -> None:
        """Raise TarkibError for a recording that is too long, or a file of too many bytes."""
        if seconds > 60 * self.minutes:
            problem, option = f"longer than {self.minutes} minutes", "--max-minutes"
        elif size > 1_000_000 * self.megabytes:
            problem, option = f"larger than {self.megabytes:,} MB", "--max-mb"
        else:
            return
        raise TarkibError(f"is {problem}; cut it, start tarkib app with a greater {option}, or use tarkib predict")


async def events(
    recogniser: Recogniser, name: str, path: Path, limits: Limits, worker: Executor, template: jinja2.Template
) -> AsyncIterator[str]:
    """Recognise a recording in a worker's thread, and delete its folder.

    The events are lines of JSON: the seconds that are `done` and the `total` that the header states (0 where it does
    not); finally the result as `html`, `csv`, `json`, `jams` and `png` (base64), with its `media_type` where browsers
    play it, or an `error`.
    Recognition stops when the caller closes this generator.
    """
    loop, queue, left = asyncio.get_running_loop(), asyncio.Queue[dict[str, Any]](), threading.Event()
    total = 0.0

    def send(**event: Any) -> None:
        if left.is_set():
            raise TarkibError("the page was left")
        loop.call_soon_threadsafe(queue.put_nowait, event)

    def advance(seconds: float) -> None:
        limits.check(seconds=seconds)  # headers may not state the length, or state a wrong one
        send(done=seconds, total=total)

    def work() -> None:
        nonlocal total
        result: dict[str, Any]
        try:
            limits.check(size=path.stat().st_size)
            total = audio.seconds(path)
            limits.check(seconds=total)
            found = recogniser.recognise(path, progress=advance)
            limits.check(seconds=found.seconds)
            html = template.render(title=name, **template_variables(found))
            texts = {kind: getattr(formats, kind)(found, name) for kind in ("csv", "json", "jams")}
            picture = path.parent / "timeline.png"
            timeline.draw(found, picture, name)
            png = base64.b64encode(picture.read_bytes()).decode()
            result = {"html": html, "media_type": media_type(path), "png": png, **texts}
        except Exception as error:
            # The path on this machine means nothing to the person who uploaded the file.
            result = {"error": f"{name}: {error_message(error).replace(str(path), name)}"}
        shutil.rmtree(path.parent, ignore_errors=True)
        with suppress(TarkibError):
            send(**result)

    worker.submit(work)
    try:
        event: dict[str, Any] = {}
        while not event.keys() & {"html", "error"}:
            event = await queue.get()
            yield json.dumps(event) + "\n"
    finally:
        left.set()


def error_message(error: Exception) -> str:
    """The page's message for an error."""
    if isinstance(error, OSError):  # a disk or a network that went away, or a full disk
        return printable(f"{error.filename or 'disk'}: {error.strerror}; check the disk")
    return printable(str(error)) if isinstance(error, TarkibError) else unforeseen(error)


def template_variables(found: Recognition) -> dict[str, Any]:
    """The variables of the template `recognition.html`."""
    borders, activity, present = found.thinned(_COLUMNS)
    rows = []
    for k, label in enumerate(found.labels):
        segments = [segment for segment in found.segments if segment.instrument == label]
        row = {
            "name": label,
            "spans": " ".join(f"{segment.start_s:.3f}-{segment.end_s:.3f}" for segment in segments),
            "trained": bool(found.trained[k]),
            "top": k + 1 - _ROW,
            "threshold": k + 1 - _ROW * found.thresholds[k],
        }
        if found.trained[k]:
            row["weak"] = _steps(borders, np.where(present[:, k], 0.0, activity[:, k]), k + 1)
            row["strong"] = _steps(borders, np.where(present[:, k], activity[:, k], 0.0), k + 1)
        rows.append(row)
    step = time_step(found.seconds, 8)
    return {
        "found": found,
        "rows": rows,
        "row_height": _ROW,
        "segments": sorted(found.segments, key=lambda segment: segment.start_s),  # by time, then as the instruments
        "ticks": [step * k for k in range(int(found.seconds / step) + 1)],
    }


def _steps(borders: np.ndarray, heights: np.ndarray, floor: int) -> str:
    """A filled curve of steps, as the path of an SVG picture; steps of height 0 are left out."""
    return "".join(
        f"M{start:.6g} {floor}V{floor - _ROW * height:.6g}H{end:.6g}V{floor}z"
        for start, end, height in zip(borders[:-1], borders[1:], heights, strict=True)
        if height > 0
    )


def media_type(path: Path) -> str | None:
    """The media type of a file whose format browsers play, by its content; None for others.

    A file whose headers are wrong is among the others: browsers believe the headers.
    """
    about = audio.plain(path)
    kind, encodings = _PLAYED.get(about.format if about else "", (None, set()))
    return kind if about and about.subtype in encodings else None


def playable(path: Path, scratch: Path) -> Path:
    """The file itself where browsers play its format, else a FLAC file in `scratch`, which is made once.

    Raises TarkibError for what cannot be decoded, OSError for what does not exist.
    """
    if media_type(path):
        return path
    version = f"{path}\0{path.stat().st_mtime_ns}"
    target = scratch / f"{hashlib.sha256(os.fsencode(version)).hexdigest()}.flac"
    if not target.exists():
        try:
            with (
                atomic_file(target) as partial,
                soundfile.SoundFile(partial, "w", audio.SAMPLE_RATE, 1, "PCM_16", format="FLAC") as file,
            ):
                for block in audio.Stream(path):
                    file.write(block)
        except soundfile.LibsndfileError as error:
            raise TarkibError(f"{path.name}: cannot be converted in {scratch} ({error}); is the disk full?") from error
    return target
