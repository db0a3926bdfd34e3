"""What subcommands write about recordings: documents on the standard output, files, and errors."""

import errno
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tarkib.errors import TarkibError
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.text import printable


class OutputError(TarkibError):
    """No output can be written there: the command ends."""


class Documents:
    """Documents on the standard output, printed as soon as they are made; JSON becomes one list, CSV one table."""

    def __init__(self, format_: str) -> None:
        self._format, self._count = format_, 0

    def __enter__(self) -> "Documents":
        return self

    def add(self, text: str) -> None:
        """Print one more document."""
        if self._format == "json":
            text = (",\n" if self._count else "[\n") + text.removesuffix("\n")
        elif self._format == "csv" and self._count:
            text = text.partition("\n")[2]
        print(text, end="", flush=True)
        self._count += 1

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        """Close the list, also after an interrupt; an error before the first document prints none."""
        if self._format == "json" and (self._count or not isinstance(error, TarkibError)):
            print("\n]" if self._count else "[]")


@contextmanager
def one_of_many(recording: Path, failed: list[Path]) -> Iterator[None]:
    """Print why a recording cannot be read or its file written, and add it to `failed`: the others are still done."""
    try:
        yield
    except OutputError:
        raise
    except (TarkibError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        print(f"{printable(recording)}: {reason}", file=sys.stderr)
        failed.append(recording)


def exists(recording: Path, failed: list[Path]) -> bool:
    """Whether a recording exists, asked before anything is loaded that takes long; where not, as `one_of_many`."""
    with one_of_many(recording, failed):
        recording.stat()
        return True
    return False


def picture_of(name: Path | str, plot: Path) -> Path:
    """The picture of a recording: the PNG file that ``--plot`` names, else one in the folder that it names.

    The whole file name is kept, since a folder may hold song.mp3 and song.wav.
    """
    return plot if plot.suffix.lower() == ".png" else plot / f"{name}.png"


def check(plot: Path | None, recordings: int, outputs: Iterable[tuple[Path, Path]]) -> None:
    """Refuse a plot that is no PNG, one PNG for several recordings, and two recordings with one output."""
    if plot and plot.suffix.lower() == ".png" and recordings > 1:
        raise TarkibError(f"--plot {plot}: give a folder for the pictures of several recordings")
    if plot and plot.suffix.lower() in (".svg", ".pdf", ".jpg", ".jpeg", ".webp", ".gif"):
        raise TarkibError(f"--plot {plot}: PNG is drawn; name a file that ends in .png, or a folder")
    owners: dict[Path, Path] = {}
    for recording, output in outputs:
        owner = owners.setdefault(output, recording)
        if owner != recording:
            raise TarkibError(f"{recording} and {owner} would both be written to {output}; rename one")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """As `atomic_file`, with errors that name the file and the remedy.

    Raises TarkibError where a shorter name is all that is needed, else OutputError.
    """
    try:
        with atomic_file(path) as partial:
            yield partial
    except OSError as error:
        problem = f"{printable(path)}: cannot be written ({error.strerror or error})"
        if error.errno == errno.ENAMETOOLONG:
            raise TarkibError(f"{problem}; give it a shorter name") from error
        raise OutputError(f"{problem}; make room, or name another folder") from error


@contextmanager
def picture(path: Path) -> Iterator[Path]:
    """As `whole`, and say that the picture is there."""
    with whole(path) as partial:
        yield partial
    print(f"{printable(path)} written", file=sys.stderr)
