"""``tarkib predict FILE…``: which instruments play when, in recordings of any length."""

import argparse
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from tarkib import audio
from tarkib.cli import written
from tarkib.cli.options import number, whole_number
from tarkib.errors import TarkibError
from tarkib.recordings import folders
from tarkib.runtime.text import printable

if TYPE_CHECKING:
    from tarkib.recognition import Recogniser, Recognition

_SUFFIXES = {"table": ".txt", "csv": ".csv", "json": ".json", "jams": ".jams"}


@dataclass(frozen=True)
class _Task:
    """A recording, why it cannot be read if that is known, and the files to write; None where none is to be written."""

    file: Path
    problem: str | None
    document: Path | None
    picture: Path | None

    @property
    def done(self) -> bool:
        """Whether all that is asked for is there."""
        # Path.exists raises where a name is longer than names may be.
        return all(os.path.exists(one) for one in (self.document, self.picture) if one)


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "predict",
        help="which instruments play when",
        description="Hears recordings of any length in five-second windows and tells which instruments play when. "
        "Recordings that cannot be read are named, and the others go on; the exit code is 1 only where none could be.",
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="recordings, videos too, or folders of them"
    )
    parser.add_argument(
        "--model",
        default="models/classifier",
        metavar="MODEL",
        help="a classifier's folder, or what MLflow has, models:/tarkib@best say (default: %(default)s)",
    )
    parser.add_argument("--format", choices=tuple(_SUFFIXES), default="table", help="default: %(default)s")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="write a file for each recording there, song.mp3.csv say"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="PNG", help="draw a timeline; a folder if the recordings are several"
    )
    parser.add_argument(
        "--skip-existing", action="store_true", help="leave recordings out whose --out and --plot files are there"
    )
    parser.add_argument(
        "--hop", type=number(0.1, 5.0), default=1.0, metavar="SECONDS", help="from window to window (default 1)"
    )
    parser.add_argument("--batch-size", type=whole_number(1), default=16, metavar="N", help="windows at once")
    parser.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu or cuda")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Hear each recording and write of it at once, so that a call that was cut off can be repeated."""
    tasks = list(_tasks(options))
    _check(options, tasks)
    left = [task for task in tasks if not (options.skip_existing and task.done)]
    if len(left) < len(tasks):
        print(f"{len(tasks) - len(left)} of {len(tasks)} recordings skipped: their files are there", file=sys.stderr)
    if not left:
        return 0
    from tarkib.recognition import Recogniser

    _check_device(options.device)
    recogniser = Recogniser.load(options.model, device=options.device)
    heard = 0
    with _Printed(options.format, options.out is not None) as printed:
        for place, task in enumerate(left, start=1):
            try:
                found = _heard(recogniser, task, options, f"{place}/{len(left)} {printable(task.file.name)}")
            except (TarkibError, OSError) as error:
                reason = error.strerror or error if isinstance(error, OSError) else error
                print(f"{printable(task.file)}: {reason}", file=sys.stderr)
                continue
            try:
                _write(found, task, options.format)
            except written.NameTooLongError as error:
                print(f"{printable(task.file)}: {error}", file=sys.stderr)
                continue
            heard += 1
            # The table says it itself.
            if found.remark and (options.format != "table" or options.out):
                print(f"{printable(task.file)}: {found.remark}", file=sys.stderr)
            printed.add(found, task)
    if heard < len(left):
        print(f"{len(left) - heard} of {len(left)} recordings could not be read or written", file=sys.stderr)
    return int(heard == 0 and len(left) == len(tasks))


def _tasks(options: argparse.Namespace) -> Iterator[_Task]:
    """What is to be heard: files as they are named, and of folders all that has a recording's ending."""
    for one in options.files:
        # Path.is_dir raises where a name is longer than names may be; it is the recording's fault when it is heard.
        if not os.path.isdir(one):
            yield _task(one, Path(one.name), options)
            continue
        found = folders.listing(one)
        if found.others:
            print(f"{one}: files without a recording's ending, left out: {len(found.others)}", file=sys.stderr)
        if not found.entries:
            print(f"{one}: holds no recordings ({' '.join(sorted(audio.SUFFIXES))})", file=sys.stderr)
        yield from (_task(one / name, Path(name), options, problem) for name, problem in found.entries)


def _task(file: Path, name: Path, options: argparse.Namespace, problem: str | None = None) -> _Task:
    """The whole file name is kept in what is written, since song.mp3 and song.wav may stand in one folder."""
    document = options.out and options.out / f"{name}{_SUFFIXES[options.format]}"
    picture = options.plot and written.picture_of(name, options.plot)
    return _Task(file, problem, document, picture)


def _check(options: argparse.Namespace, tasks: list[_Task]) -> None:
    """Refuse what would be written over itself, or could not be read back."""
    if not tasks:
        raise TarkibError("there is nothing to hear; name recordings or folders that hold some")
    if options.skip_existing and not (options.out or options.plot):
        raise TarkibError("--skip-existing: needs --out or --plot, whose files it looks for")
    written.check_plot(options.plot, len(tasks))
    if options.format == "jams" and not options.out and len(tasks) > 1:
        raise TarkibError("--format jams: a document holds one recording; give a folder with --out")
    written.check_apart((task.file, path) for task in tasks for path in (task.document, task.picture) if path)


def _check_device(text: str) -> None:
    """Refuse a device that is unknown or not there, before each recording would be told so."""
    from tarkib.training import devices

    try:
        devices.first(text)
    except TarkibError as error:
        # The parameter of the pipeline that is written alike is not what was given here.
        raise TarkibError(f"--device: {str(error).removeprefix('run.devices: ')}") from error


def _heard(recogniser: "Recogniser", task: _Task, options: argparse.Namespace, title: str) -> "Recognition":
    """Hear one recording, with a bar on a terminal."""
    if task.problem:
        raise TarkibError(task.problem)
    total = audio.seconds(task.file) if task.file.is_file() else 0.0
    with tqdm(total=round(total) or None, desc=title, unit="s", disable=None, leave=False) as bar:
        return recogniser(
            task.file, hop_s=options.hop, batch_size=options.batch_size, progress=lambda s: bar.update(int(s) - bar.n)
        )


def _write(found: "Recognition", task: _Task, format_: str) -> None:
    from tarkib.recognition import formats

    if task.document:
        text = getattr(formats, format_)(found, str(task.file))
        with written.whole(task.document) as partial:
            partial.write_text(text, encoding="utf-8")
    if task.picture:
        from tarkib.recognition import timeline

        with written.whole(task.picture) as partial:
            timeline.draw(found, partial, task.file.name)


class _Printed:
    """What goes to the standard output: one document of all recordings, or where each file was written."""

    def __init__(self, format_: str, to_files: bool) -> None:
        self._format, self._to_files, self._count = format_, to_files, 0

    def __enter__(self) -> "_Printed":
        return self

    def add(self, found: "Recognition", task: _Task) -> None:
        """Print one more recording."""
        from tarkib.recognition import formats

        if self._to_files:
            print(printable(task.document))
        else:
            text = getattr(formats, self._format)(found, str(task.file))
            if self._format == "json":
                text = ("[\n" if self._count == 0 else ",\n") + text.rstrip("\n")
            elif self._format == "csv" and self._count:
                text = text.split("\n", 1)[1]
            print(text, end="", flush=True)
        self._count += 1

    def __exit__(self, *_: object) -> None:
        """End the document, also where the call was cut off."""
        if self._format == "json" and not self._to_files:
            print("[]" if self._count == 0 else "\n]")
