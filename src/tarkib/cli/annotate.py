"""``tarkib annotate FILE…``: tempo, tonic and dastgah of recordings, as a table, CSV, JSON or a picture."""

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from tarkib import audio, params, vocabulary
from tarkib.annotation import conflicts, evidence
from tarkib.annotation.conclusion import Annotation, Conclusion, annotate, conclude
from tarkib.annotation.labels import Labels
from tarkib.cli import written
from tarkib.cli.options import number
from tarkib.errors import TarkibError
from tarkib.runtime.text import clock, note_name, printable

_FORMATS = ("table", "csv", "json")

_SAME_TEMPO = 0.02  # slices whose tempi differ by less stand in one line of the table


@dataclass(frozen=True)
class Report:
    """What is told of one file: its slices begin every five seconds."""

    file: Path
    seconds: float
    conclusion: Conclusion
    starts_s: tuple[float, ...]
    slices: list[Annotation]
    conflicts: list[conflicts.Conflict]


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "annotate",
        help="tempo, tonic and dastgah of recordings",
        description="Tells tempo, tonic and dastgah of recordings of any length, each with the probability that it is "
        "right. What you say with an option is a label: it wins, and is questioned where the sound contradicts it.",
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=" ".join(sorted(audio.SUFFIXES)))
    parser.add_argument(
        "--instrument",
        type=_word(vocabulary.instrument, vocabulary.INSTRUMENTS),
        help=f"one of {', '.join(vocabulary.INSTRUMENTS)}; percussion gets a tempo alone",
    )
    parser.add_argument(
        "--dastgah",
        type=_word(vocabulary.dastgah, vocabulary.DASTGAHS),
        help=f"one of {', '.join(vocabulary.DASTGAHS)}",
    )
    parser.add_argument("--tonic", type=number(20.0, 5_000.0), metavar="HZ", help="first degree of the scale")
    parser.add_argument("--bpm", type=number(20.0, 400.0), help="tempo of the whole recording")
    parser.add_argument("--format", choices=_FORMATS, default="table")
    parser.add_argument(
        "--plot", type=Path, metavar="PNG", help="draw onsets, beats, tempo and pitch; a folder if FILEs are several"
    )
    parser.add_argument(
        "--params", type=Path, metavar="YAML", help="whose section annotate to use (default: params.yaml, if there)"
    )
    parser.set_defaults(run=run)


def _word(read: Callable[[str], str | None], known: Sequence[str]) -> Callable[[str], str]:
    """Reads a word of the vocabulary in any spelling."""

    def parse(text: str) -> str:
        name = read(text)
        if name is None:
            raise argparse.ArgumentTypeError(f"{text!r} is unknown; give one of {', '.join(known)}")
        return name

    return parse


def run(options: argparse.Namespace) -> int:
    """Annotate each file and tell of it at once; 1 where one of them could not be used."""
    file = options.params or Path("params.yaml")
    settings = params.load(file).annotate if options.params or file.is_file() else params.Annotate()
    labels = Labels(options.instrument, options.dastgah, options.tonic, options.bpm)
    written.check_plot(options.plot, len(options.files))
    if options.plot:
        written.check_apart((one, written.picture_of(one.name, options.plot)) for one in options.files)
    failed = 0
    with _Printed(options.format) as printed:
        for one in options.files:
            try:
                heard = _heard(one)
                report = _report(one, heard, labels, settings)
            except (TarkibError, OSError) as error:
                reason = error.strerror or error if isinstance(error, OSError) else error
                print(f"{printable(one)}: {reason}", file=sys.stderr)
                failed = 1
                continue
            # Before the picture, so that one that cannot be written costs no more than itself.
            printed.add(report)
            try:
                if options.plot:
                    _draw(report, heard, labels, settings, written.picture_of(one.name, options.plot))
            except written.NameTooLongError as error:
                print(f"{printable(one)}: {error}", file=sys.stderr)
                failed = 1
    return failed


def _heard(file: Path) -> evidence.Evidence:
    """What a file sounds like; what is odd about the file is printed."""
    stream = audio.Stream(file)
    heard = evidence.extract(stream)
    if stream.remarks:
        print(f"{printable(file)}: {'; '.join(stream.remarks)}", file=sys.stderr)
    return heard


def _report(file: Path, heard: evidence.Evidence, labels: Labels, settings: params.Annotate) -> Report:
    conclusion = conclude(heard, labels, settings)
    starts_s = tuple(np.arange(0.0, max(heard.seconds - audio.CLIP_SECONDS / 2, 0.1), audio.CLIP_SECONDS).tolist())
    doubts = conflicts.find(heard, conclusion.tempo, labels, settings.suspect_confidence)
    slices = annotate(conclusion, starts_s, labels, settings)
    return Report(file, heard.seconds, conclusion, starts_s, slices, doubts)


def _draw(report: Report, heard: evidence.Evidence, labels: Labels, settings: params.Annotate, target: Path) -> None:
    from tarkib.annotation import picture

    with written.whole(target) as partial:
        picture.draw(heard, report.conclusion, labels, settings, report.file.name, partial)
    print(f"{printable(target)} written", file=sys.stderr)


class _Printed:
    """Reports on the standard output, each as soon as it is there; all of them together are one document."""

    def __init__(self, format_: str) -> None:
        self._format, self._count = format_, 0

    def __enter__(self) -> "_Printed":
        if self._format == "csv":
            _write_csv_row("file", "start_s", *(one.name for one in fields(Annotation)))
        return self

    def add(self, report: Report) -> None:
        """Print one more report."""
        if self._format == "table":
            print(*_lines(report), sep="\n")
        elif self._format == "csv":
            _write_csv(report)
        else:
            print("[" if self._count == 0 else ",", _json(report), sep="\n", end="")
        sys.stdout.flush()
        self._count += 1

    def __exit__(self, *_: object) -> None:
        """End the document, also where the call was cut off."""
        if self._format == "json":
            print("[]" if self._count == 0 else "\n]")


def _lines(one: Report) -> Iterator[str]:
    first, tonal = one.slices[0], one.conclusion.tonality
    yield f"{printable(one.file)}, {clock(one.seconds)}"
    dastgah = first.dastgah or (f"unknown (perhaps {tonal.dastgah})" if tonal.dastgah else "none heard")
    family = f", family {first.family} {first.family_confidence:.2f}" if first.family else ""
    yield f"  dastgah  {dastgah} {first.dastgah_confidence:.2f}{family}"
    if tonal.tonic_hz is not None:
        known = "" if first.tonic_hz else "unknown (perhaps) "
        yield f"  tonic    {known}{tonal.tonic_hz:.1f} Hz, {note_name(tonal.tonic_hz)}, {first.tonic_confidence:.2f}"
    for start, end, bpm, confidence, octaves in _stretches(one):
        span = f"{clock(start)} to {clock(end)}"
        also = f", or {' or '.join(f'{other:.1f}' for other in octaves)}" if octaves else ""
        tempo = "no metre" if bpm is None else f"{bpm:.1f} BPM"
        yield f"  tempo    {span:>13}  {tempo} {confidence:.2f}{also}"
    for doubt in one.conflicts:
        span = f"{clock(doubt.start_s)} to {clock(doubt.end_s)}"
        yield f"  look at  {span:>13}  {doubt.what} {doubt.label} sounds like {doubt.estimate} {doubt.confidence:.2f}"


def _stretches(one: Report) -> Iterator[tuple[float, float, float | None, float, list[float]]]:
    """From, to, tempo, confidence and octaves of stretches that keep a tempo; means over their slices."""
    groups: list[list[int]] = []
    for i, piece in enumerate(one.slices):
        before = one.slices[groups[-1][-1]].bpm if groups else None
        same = bool(groups) and (
            (piece.bpm is None) == (before is None)
            and (piece.bpm is None or abs(piece.bpm / before - 1.0) < _SAME_TEMPO)
        )
        if same:
            groups[-1].append(i)
        else:
            groups.append([i])
    ends = (*one.starts_s[1:], one.seconds)
    for group in groups:
        pieces = [one.slices[i] for i in group]
        bpm = None if pieces[0].bpm is None else float(np.mean([piece.bpm for piece in pieces]))
        confidence = float(np.mean([piece.bpm_confidence for piece in pieces]))
        yield one.starts_s[group[0]], ends[group[-1]], bpm, confidence, pieces[0].bpm_octaves


def _write_csv(one: Report) -> None:
    for start, piece in zip(one.starts_s, one.slices, strict=True):
        values = {**asdict(piece), "bpm_octaves": " ".join(f"{other:.2f}" for other in piece.bpm_octaves)}
        _write_csv_row(one.file, start, *(_cell(values[column.name]) for column in fields(Annotation)))


def _write_csv_row(*cells: object) -> None:
    csv.writer(sys.stdout, lineterminator="\n").writerow(cells)


def _cell(value: object) -> object:
    return f"{value:.4f}" if isinstance(value, float) else value


def _json(one: Report) -> str:
    """A report as an item of a list: indented, without the list's brackets."""
    told = {
        "file": str(one.file),
        "seconds": one.seconds,
        "beats_s": [round(float(beat), 3) for beat in one.conclusion.beats_s],
        "slices": [{"start_s": s, **asdict(piece)} for s, piece in zip(one.starts_s, one.slices, strict=True)],
        "suspects": [doubt._asdict() for doubt in one.conflicts],
    }
    return json.dumps([told], indent=1, ensure_ascii=False).removeprefix("[\n").removesuffix("\n]")
