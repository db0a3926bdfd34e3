"""Files that a subcommand writes of recordings: where ``--plot`` puts its pictures, and errors that name the file."""

import errno
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tarkib.errors import TarkibError
from tarkib.runtime.outputs import atomic_file
from tarkib.runtime.text import printable

_OTHER_PICTURES = frozenset({".svg", ".pdf", ".jpg", ".jpeg", ".webp", ".gif", ".eps"})
"""Endings of pictures that are not drawn, and are no name that one gives a folder."""


class NameTooLongError(TarkibError):
    """A file whose name is longer than names may be there: the recording's fault, which stops no other."""


def picture_of(name: Path | str, plot: Path) -> Path:
    """The picture of a recording: what ``--plot`` names if that is a PNG, else a file in the folder that it names.

    The whole file name is kept, since song.mp3 and song.wav may stand in one folder.
    """
    return plot if plot.suffix.lower() == ".png" else plot / f"{name}.png"


def check_plot(plot: Path | None, recordings: int) -> None:
    """Refuse a picture of another kind than PNG, and one for several recordings."""
    if plot and plot.suffix.lower() in _OTHER_PICTURES:
        raise TarkibError(f"--plot {plot}: PNG is drawn; name a file that ends in .png, or a folder")
    if plot and plot.suffix.lower() == ".png" and recordings > 1:
        raise TarkibError(f"--plot {plot}: give a folder for the pictures of several recordings")


def check_apart(outputs: Iterable[tuple[Path, Path]]) -> None:
    """Refuse recordings, each given with a file to write of it, of which one would overwrite what another wrote."""
    owners: dict[Path, Path] = {}
    for recording, output in outputs:
        owner = owners.setdefault(output, recording)
        if owner != recording:
            raise TarkibError(f"{recording} and {owner} would both be written to {output}; call them apart")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """As `atomic_file`, but what the file system refuses is told as a TarkibError that names the file and the remedy.

    Raises NameTooLongError where a shorter name is all that is needed.
    """
    try:
        with atomic_file(path) as partial:
            yield partial
    except OSError as error:
        told = f"{printable(path)}: cannot be written ({error.strerror or error})"
        if error.errno == errno.ENAMETOOLONG:
            raise NameTooLongError(f"{told}; give it a shorter name") from error
        raise TarkibError(f"{told}; make room, or name another folder") from error
