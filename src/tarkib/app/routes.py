"""What the page asks for beside Gradio's own requests: excerpts and their labels, and sound to play.

A request names an excerpt or a recording by a key that the server has made, never by a name or a path.
"""

import secrets
import shutil
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, HTTPException
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel, Field
from starlette.types import Receive, Scope, Send

from tarkib import audio
from tarkib.app import sound
from tarkib.app.labelling import Labels
from tarkib.errors import TarkibError
from tarkib.runtime.text import clock
from tarkib.vocabulary import INSTRUMENTS

SOUND = "/tarkib/sound"
LABELS = "/tarkib/labels"

_LONGER_BY_S = 0.5
_CONVERTED_AT_MOST = 8  # excerpts; the browser keeps those that it played too


@dataclass(frozen=True)
class _Heard:
    """What was made for a page, and of which file."""

    made: Path
    brought: Path
    version: tuple[int, int]


class Sounds:
    """What each open page heard last, by keys that cannot be guessed; several threads may use one.

    Parameters
    ----------
    folder : where to put what is made of recordings.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._lock = threading.Lock()
        self._pages: dict[str, _Heard] = {}
        self._files: dict[Path, tuple[str, Path]] = {}

    def begin(self, page: str, brought: Path) -> Path:
        """Drop what a page had; gives a folder for what is made of the file that it brings now."""
        self.drop(page)
        heard = _Heard(self._folder / uuid.uuid4().hex, brought, _version(brought))
        heard.made.mkdir()
        with self._lock:
            self._pages[page] = heard
        return heard.made

    def add(self, path: Path, made: Path) -> str:
        """Let a file be heard as long as `made`, a folder that `begin` gave, is there; returns its address.

        Raises TarkibError for what cannot be decoded.
        """
        key = secrets.token_urlsafe(16)
        self._files[made] = key, sound.playable(path, made)
        return f"{SOUND}/{key}"

    def drop(self, page: str) -> None:
        """Remove what was made for a page, and what it brought."""
        with self._lock:
            heard = self._pages.pop(page, None)
            if heard is None:
                return
            self._files.pop(heard.made, None)
            shutil.rmtree(heard.made, ignore_errors=True)
            # Gradio keeps equal uploads in one place: this may be another page's, or just brought again.
            shared = heard.brought in {other.brought for other in self._pages.values()}
            with suppress(FileNotFoundError):
                if not shared and _version(heard.brought) == heard.version:
                    heard.brought.unlink()

    def get(self, key: str) -> Path | None:
        """The file of a key, None where there is none."""
        with self._lock:
            return next((path for known, path in self._files.values() if known == key), None)


class Change(BaseModel):
    """What a person says of an excerpt; one of the fields at a time."""

    instrument: str | None = Field(None, max_length=20)
    plays: bool = False
    confirm: bool = False
    recording: str | None = Field(None, max_length=10_000)
    remove: bool = False


class Desk:
    """The folder that is labelled, opened when the page asks for it and anew when it asks again.

    Parameters
    ----------
    folder : with excerpts.
    scratch : where to put excerpts that browsers cannot play as they are, made playable; a few at a time.
    """

    def __init__(self, folder: Path, scratch: Path):
        self._folder = folder
        self._lock = threading.Lock()
        self._labels: Labels | None = None
        self._converted = sound.Converted(scratch, _CONVERTED_AT_MOST)

    @property
    def labels(self) -> Labels:
        """The labels. Raises TarkibError where there is nothing to label, or labels.csv is damaged."""
        with self._lock:
            if self._labels is None:
                self._labels = Labels(self._folder)
            return self._labels

    def open(self) -> dict[str, Any]:
        """Look through the folder again; where to begin: the first without labels, or the first of all."""
        with self._lock:
            self._labels = None
        labels = self.labels
        return self.state(labels.key(labels.first_unlabelled() or 0))

    def state(self, key: str, changed: bool = False) -> dict[str, Any]:
        """All that the page shows of an excerpt. `changed`: another program has changed labels.csv."""
        labels = self.labels
        changed = labels.refresh() or changed
        excerpt = labels.excerpt(key)
        file = _readable(str(labels.path))
        place, first = excerpt.place, labels.first_unlabelled()
        return {
            "key": key,
            "name": _readable(excerpt.name),
            "place": place + 1,
            "count": len(labels),
            "labelled_count": labels.labelled,
            "labelled": excerpt.labelled,
            "values": excerpt.values,
            "columns": [name in labels.columns for name in INSTRUMENTS],
            "recording": excerpt.recording,
            "recordings": labels.recordings,
            "back": labels.key(place - 1) if place > 0 else None,
            "next": labels.key(place + 1) if place + 1 < len(labels) else None,
            "first_unlabelled": None if first is None else labels.key(first),
            "sound": f"{LABELS}/{key}/sound",
            "length": _length(excerpt.path),
            "notice": f"{file} was changed by another program and has been read anew." if changed else "",
            "file": file,
        }

    def change(self, key: str, said: Change) -> dict[str, Any]:
        """Write what is said of an excerpt; its state after that."""
        labels = self.labels
        changed = labels.refresh()
        if said.instrument is not None:
            labels.set(key, said.instrument, said.plays)
        if said.confirm:
            labels.confirm(key)
        if said.recording is not None:
            labels.set_recording(key, said.recording)
        if said.remove:
            labels.remove(key)
        return self.state(key, changed)

    def sound(self, key: str) -> Path:
        """The sound of an excerpt, as a file that browsers play."""
        path = self.labels.excerpt(key).path
        if not _is_text(path):
            raise TarkibError(f"{str(path)!a}: the name is no text; rename it")
        try:
            return self._converted.of(path)
        except TarkibError as error:
            raise TarkibError(f"{path}: {error}") from error


def router(sounds: Sounds, desk: Desk) -> APIRouter:
    """The routes. What a person can put right is an answer with `error` and the status 409."""
    routes = APIRouter()

    @routes.get(SOUND + "/{key}")
    def heard(key: str) -> FileResponse:
        path = sounds.get(key)
        if path is None:
            raise HTTPException(404)
        return _sound(path)

    @routes.get(LABELS)
    def opened() -> JSONResponse:
        return _answer(desk.open)

    @routes.get(LABELS + "/{key}")
    def state(key: str) -> JSONResponse:
        return _answer(desk.state, key)

    @routes.post(LABELS + "/{key}")
    def change(key: str, said: Change) -> JSONResponse:
        return _answer(desk.change, key, said)

    @routes.get(LABELS + "/{key}/sound")
    def excerpt(key: str) -> FileResponse:
        try:
            path = desk.sound(key)
        except (TarkibError, OSError) as error:
            raise HTTPException(404) from error
        return _sound(path)

    return routes


class _Opened(FileResponse):
    """A file that is sent whole, though it may be taken away meanwhile, since the page that asked may be left.

    Raises OSError where it cannot be opened.
    """

    def __init__(self, path: Path, media_type: str):
        self._file = path.open("rb")
        super().__init__(f"/dev/fd/{self._file.fileno()}", media_type=media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._file:
            await super().__call__(scope, receive, send)


def _sound(path: Path) -> FileResponse:
    try:
        return _Opened(path, sound.media_type(path))
    except (OSError, RuntimeError) as error:
        raise HTTPException(404) from error


def _version(path: Path) -> tuple[int, int]:
    """What is another once a file was replaced by one of the same name."""
    said = path.stat()
    return said.st_ino, said.st_ctime_ns


def _answer(make: Callable[..., dict[str, Any]], *arguments: Any) -> JSONResponse:
    try:
        return JSONResponse(make(*arguments))
    except TarkibError as error:
        return JSONResponse({"error": _readable(str(error))}, status_code=409)
    except OSError as error:
        # A disk or a network that went away, wherever that was noticed.
        said = f"{error.filename}: {error.strerror}; is its disk still there?"
        return JSONResponse({"error": _readable(said)}, status_code=409)


def _length(path: Path) -> str:
    """A remark on an excerpt that is no five seconds."""
    if not _is_text(path):
        kind = "file" if _is_text(path.parent) else "folder"
        return f"The name of this {kind} is no text, so that nothing can read it; rename it."
    seconds = audio.seconds(path)
    if seconds == 0:
        return "This file cannot be read as sound; the pipeline will leave it out."
    if seconds > audio.CLIP_SECONDS + _LONGER_BY_S:
        told = f"{seconds:.1f} s" if seconds < 60 else clock(seconds)
        return (
            f"This excerpt is {told} long; the pipeline averages over its five-second windows, so that an instrument "
            "counts as playing that plays in any part of it."
        )
    return ""


def _is_text(path: Path) -> bool:
    """Whether a path, folders included, is valid UTF-8; libsndfile takes no other."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _readable(name: str) -> str:
    """A name or a message as text: bytes that are none are shown as such."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
