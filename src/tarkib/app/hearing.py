"""Hearing a recording that someone brings, within limits."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tarkib import audio
from tarkib.errors import TarkibError
from tarkib.recognition import Recogniser, Recognition
from tarkib.runtime.text import clock


@dataclass(frozen=True)
class Limits:
    """The longest (minutes) and largest (10^6 bytes) recording that is heard."""

    minutes: int
    megabytes: int

    def check_length(self, name: str, seconds: float) -> None:
        """Raise TarkibError for a recording that is too long."""
        if seconds > 60 * self.minutes:
            raise TarkibError(
                f"{name}: is {clock(seconds)} or longer, and at most {self.minutes} minutes are heard; cut it, start "
                "tarkib app with a greater --max-minutes, or use tarkib predict"
            )

    def check_size(self, name: str, size: int) -> None:
        """Raise TarkibError for a file, of `size` bytes, that is too large."""
        if size > 1_000_000 * self.megabytes:
            raise TarkibError(
                f"{name}: has {size / 1e6:,.1f} MB, and at most {self.megabytes:,} MB are taken; start tarkib app "
                "with a greater --max-mb, or use tarkib predict"
            )


class Hearing:
    """A hearing, while it is wanted."""

    def __init__(self) -> None:
        self.wanted = True

    def watch(self, progress: Callable[[float, float], None]) -> Callable[[float, float], None]:
        """The same progress, which ends a hearing that nobody wants any more."""

        def told(seconds: float, whole: float) -> None:
            if not self.wanted:
                raise TarkibError("stopped")
            progress(seconds, whole)

        return told


class Hearings:
    """The hearings that are under way, at most one for each open page."""

    def __init__(self) -> None:
        self._now: dict[str, Hearing] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, page: str) -> Iterator[Hearing]:
        """A hearing for a page, in place of what it had before."""
        self.stop(page)
        hearing = self._now[page] = Hearing()
        try:
            yield hearing
        finally:
            with self._lock:
                if self._now.get(page) is hearing:
                    del self._now[page]

    def stop(self, page: str) -> bool:
        """End the hearing of a page; whether there was one."""
        with self._lock:
            hearing = self._now.pop(page, None)
            if hearing is not None:
                hearing.wanted = False
            return hearing is not None


def hear(
    recogniser: Recogniser, path: Path, limits: Limits, progress: Callable[[float, float], None] | None = None
) -> Recognition:
    """What plays when in a recording.

    progress : is told the seconds that were heard and those that the file says it has, 0 where it does not.

    Raises TarkibError, which names the file, for what is too large or too long or cannot be decoded.
    """
    limits.check_size(path.name, path.stat().st_size)
    whole = audio.seconds(path)
    limits.check_length(path.name, whole)

    def heard(seconds: float) -> None:
        # Some headers do not say how long the sound is, or not the truth.
        limits.check_length(path.name, seconds)
        if progress:
            progress(seconds, whole)

    try:
        found = recogniser(path, progress=heard)
    except TarkibError as error:
        if str(error).startswith(f"{path.name}: "):
            raise
        # A decoder may tell the whole path, which means nothing to the one who brought the file.
        raise TarkibError(f"{path.name}: {str(error).replace(str(path), path.name)}") from error
    limits.check_length(path.name, found.seconds)
    return found
