"""Recognises which instruments play when, in recordings of any length, by windows of five seconds.

Recordings that cannot be read are named, and the others are done; the exit code is 1 only where none can be read.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tqdm import tqdm

from tarkib import audio
from tarkib.cli import written
from tarkib.cli.options import add_model, number, whole_number
from tarkib.errors import TarkibError
from tarkib.recordings import folders
from tarkib.runtime import progress, project
from tarkib.runtime.text import counted, printable

if TYPE_CHECKING:
    from tarkib.recognition import Recogniser, Recognition
    from tarkib.recognition.sound import Blocks

_SUFFIXES = {"table": ".txt", "csv": ".csv", "json": ".json", "jams": ".jams"}


class _Task(NamedTuple):
    """A recording, why it cannot be read if that is known, and the files to write."""

    file: Path
    problem: str | None
    document: Path | None
    picture: Path | None

    @property
    def outputs(self) -> list[Path]:
        return [path for path in (self.document, self.picture) if path]


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="recordings or videos, or folders of them")
    add_model(parser)
    parser.add_argument("--format", choices=tuple(_SUFFIXES), default="table", help="default: %(default)s")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write a file for each recording: song.mp3.csv")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw a timeline; a folder for several recordings")
    parser.add_argument("--skip-existing", action="store_true", help="leave out recordings whose files exist")
    parser.add_argument("--hop", type=number(0.1, 5.0), default=1.0, metavar="S", help="between windows; default: 1")
    parser.add_argument("--batch-size", type=whole_number(1), default=16, metavar="N", help="windows at once")
    parser.add_argument("--device", default="auto", help="auto (a GPU if there is one), cpu or cuda")


def run(options: argparse.Namespace) -> int:
    """Recognise each recording and write its results at once, so that a call that was cut off can be repeated."""
    tasks = list(_tasks(options))
    _check(options, tasks)
    left = [task for task in tasks if not (options.skip_existing and all(map(os.path.exists, task.outputs)))]
    if skipped := len(tasks) - len(left):
        print(f"{skipped} of {counted(len(tasks), 'recording')} skipped: files are there already", file=sys.stderr)
    if not left:
        return 0
    failed: list[Path] = []
    with written.Documents("" if options.out else options.format) as documents:
        readable = [task for task in left if task.problem or written.exists(task.file, failed)]
        if readable:
            _recognise(readable, options, failed, documents)
    if failed:
        print(f"{len(failed)} of {counted(len(left), 'recording')} could not be read or written", file=sys.stderr)
    return int(len(failed) == len(tasks))


def _recognise(
    tasks: list[_Task], options: argparse.Namespace, failed: list[Path], documents: written.Documents
) -> None:
    project.model_folder(options.model)
    progress.note("loading the model …")
    from tarkib.recognition import Recogniser
    from tarkib.training import devices

    try:
        devices.single(options.device)
    except TarkibError as error:
        # The parameter of the pipeline with the same values is not what was given here.
        raise TarkibError(f"--device: {str(error).removeprefix('run.devices: ')}") from error
    recogniser = Recogniser.load(options.model, device=options.device)
    print(f"model: {recogniser.origin}", file=sys.stderr)
    with closing(recogniser.opened(task.file for task in tasks)) as sounds:
        for place, (task, blocks) in enumerate(zip(tasks, sounds, strict=True), start=1):
            with written.one_of_many(task.file, failed):
                title = f"{place}/{len(tasks)} {printable(task.file.name)}"
                found = _recognised(recogniser, task, blocks, options, title)
                _write(found, task, options, documents)


def _write(found: "Recognition", task: _Task, options: argparse.Namespace, documents: written.Documents) -> None:
    from tarkib.recognition import formats

    text = getattr(formats, options.format)(found, str(task.file))
    if task.document:
        with written.whole(task.document) as partial:
            partial.write_text(text, encoding="utf-8")
    if task.picture:
        from tarkib.recognition import timeline  # matplotlib takes a second to load

        with written.picture(task.picture) as partial:
            timeline.draw(found, partial, task.file.name)
    # A table on the terminal states the remark itself.
    if found.remark and (options.format != "table" or options.out):
        print(f"{printable(task.file)}: {found.remark}", file=sys.stderr)
    documents.add(f"{printable(task.document)}\n" if task.document else text)


def _recognised(
    recogniser: "Recogniser", task: _Task, blocks: "Blocks", options: argparse.Namespace, title: str
) -> "Recognition":
    if task.problem:
        raise TarkibError(task.problem)
    total = audio.seconds(task.file) if task.file.is_file() else 0.0
    with tqdm(total=round(total) or None, desc=title, unit="s", disable=None, leave=False) as bar:

        def advance(seconds: float) -> None:
            bar.update(int(seconds) - bar.n)

        return recogniser.recognise(blocks, options.hop, options.batch_size, advance)


def _tasks(options: argparse.Namespace) -> Iterator[_Task]:
    """The files that are named, and in folders all with a recording's ending."""
    for place in options.files:
        # os.path.isdir, unlike Path.is_dir, takes names longer than NAME_MAX.
        if not os.path.isdir(place):
            yield _task(place, place.name, options)
            continue
        found = folders.listing(place)
        if found.others:
            print(f"{place}: files without a recording's ending, left out: {len(found.others)}", file=sys.stderr)
        if not found.entries:
            print(f"{place}: holds no recordings ({' '.join(sorted(audio.SUFFIXES))})", file=sys.stderr)
        yield from (_task(place / name, name, options, problem) for name, problem in found.entries)


def _task(file: Path, name: str, options: argparse.Namespace, problem: str | None = None) -> _Task:
    # The whole file name is kept, since a folder may hold song.mp3 and song.wav.
    document = options.out and options.out / f"{name}{_SUFFIXES[options.format]}"
    return _Task(file, problem, document, options.plot and written.picture_of(name, options.plot))


def _check(options: argparse.Namespace, tasks: list[_Task]) -> None:
    """Refuse outputs that would overwrite each other or could not be read back."""
    if not tasks:
        raise TarkibError("there is no recording; name recordings or folders that hold some")
    if options.skip_existing and not (options.out or options.plot):
        raise TarkibError("--skip-existing: needs --out or --plot, whose files it looks for")
    if options.format == "jams" and not options.out and len(tasks) > 1:
        raise TarkibError("--format jams: a document holds one recording; give a folder with --out")
    written.check(options.plot, len(tasks), ((task.file, path) for task in tasks for path in task.outputs))
