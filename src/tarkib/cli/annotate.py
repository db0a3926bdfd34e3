"""Estimates tempo, tonic and dastgah of recordings, each with the probability that it is right.

A recording has any length. What an option states is a label: it wins, and is reported where the sound contradicts it.
"""

import argparse
import itertools
import json
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tarkib import audio, vocabulary
from tarkib.cli import written
from tarkib.cli.options import number
from tarkib.runtime.text import clock, note_name, printable

if TYPE_CHECKING:
    from tarkib.annotation.conclusion import Annotation, Conclusion, Conflict, Labels
    from tarkib.annotation.evidence import Evidence
    from tarkib.params import Annotate

_SAME_TEMPO = 0.02  # slices whose tempi differ by less share a line of the table


class _Report(NamedTuple):
    """The results of one recording; its slices start every five seconds."""

    file: Path
    seconds: float
    conclusion: "Conclusion"
    starts_s: list[float]
    slices: list["Annotation"]
    conflicts: list["Conflict"]
    labels: "Labels"
    min_confidence: float


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=" ".join(sorted(audio.SUFFIXES)))
    parser.add_argument("--instrument", **_choice(vocabulary.instrument, vocabulary.INSTRUMENTS))
    parser.add_argument("--dastgah", **_choice(vocabulary.dastgah, vocabulary.DASTGAHS))
    parser.add_argument("--tonic", type=number(20.0, 5_000.0), metavar="HZ", help="first degree of the scale")
    parser.add_argument("--bpm", type=number(20.0, 400.0), help="tempo of the whole recording")
    parser.add_argument("--format", choices=tuple(_FORMATS), default="table", help="default: %(default)s")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw onsets, beats, tempo, pitch; or a folder")
    parser.add_argument("--params", type=Path, metavar="YAML", help="default: params.yaml, if it exists")


def _choice(read: Callable[[str], str | None], names: Sequence[str]) -> dict[str, Any]:
    """An option whose value is a name of the vocabulary in any spelling."""
    return {"type": lambda text: read(text) or text, "choices": names, "metavar": "NAME", "help": ", ".join(names)}


def run(options: argparse.Namespace) -> int:
    """Annotate each recording and print its results at once; 1 where one cannot be used."""
    pictures = {file: options.plot and written.picture_of(file.name, options.plot) for file in options.files}
    written.check(options.plot, len(options.files), ((file, path) for file, path in pictures.items() if path))
    failed: list[Path] = []
    files = [file for file in options.files if written.exists(file, failed)]
    with written.Documents(options.format) as documents:
        if not files:
            return 1
        from tarkib import params

        file = options.params or Path("params.yaml")
        settings = params.load(file).annotate if options.params or file.is_file() else params.Annotate()
        # Once there is something to analyse: they take a second to load.
        from tarkib.annotation import evidence
        from tarkib.annotation.conclusion import Labels

        labels = Labels(options.instrument, options.dastgah, options.tonic, options.bpm)
        for file in files:
            with written.one_of_many(file, failed):
                stream = audio.Stream(file)
                found = evidence.extract(stream)
                if stream.remarks:
                    print(f"{printable(file)}: {'; '.join(stream.remarks)}", file=sys.stderr)
                report = _report(file, found, labels, settings)
                documents.add(_FORMATS[options.format](report))
                if pictures[file]:
                    from tarkib.annotation import picture

                    with written.picture(pictures[file]) as partial:
                        picture.draw(found, report.conclusion, labels, settings, file.name, partial)
    return int(bool(failed))


def _report(file: Path, found: "Evidence", labels: "Labels", settings: "Annotate") -> _Report:
    from tarkib.annotation.conclusion import annotate, conclude, conflicts

    conclusion = conclude(found, labels, settings)
    starts_s = np.arange(0.0, max(found.seconds - audio.CLIP_SECONDS / 2, 0.1), audio.CLIP_SECONDS).tolist()
    contradictions = conflicts(found, conclusion, labels, settings)
    slices = annotate(conclusion, starts_s, labels, settings)
    return _Report(file, found.seconds, conclusion, starts_s, slices, contradictions, labels, settings.min_confidence)


def _lines(report: _Report) -> Iterator[str]:
    yield f"{printable(report.file)}, {clock(report.seconds)}"
    parts = report.conclusion.parts
    for start_s, end_s, tonality in parts:
        span = "" if len(parts) == 1 else f"{f'{clock(start_s)} to {clock(end_s)}':>13}  "
        middles_s = np.array(report.starts_s) + audio.CLIP_SECONDS / 2
        first = report.slices[int(np.argmax(middles_s >= start_s))]
        if tonality.dastgah:
            dastgah = first.dastgah or f"unknown (perhaps {tonality.dastgah})"
            family = f", family {first.family} {first.family_confidence:.2f}" if first.family else ""
            yield f"  dastgah  {span}{dastgah} {first.dastgah_confidence:.2f}{family}"
        else:
            is_drum = report.labels.instrument in vocabulary.PERCUSSION
            why = "percussion" if is_drum else "too few held notes for a scale, as of percussion"
            yield f"  dastgah  {span}none: {why}"
        if tonality.tonic_hz is not None:
            known = "" if first.tonic_hz else "unknown (perhaps) "
            tonic = f"{tonality.tonic_hz:.1f} Hz, {note_name(tonality.tonic_hz)}, {first.tonic_confidence:.2f}"
            yield f"  tonic    {span}{known}{tonic}"
    for start_s, end_s, slices in _stretches(report):
        bpm, octaves = slices[0].bpm, slices[0].bpm_octaves
        confidence = f"{np.mean([piece.bpm_confidence for piece in slices]):.2f}"
        if bpm is None:
            tempo = f"uncertain or free ({confidence}, below min_confidence {report.min_confidence:g})"
        else:
            tempo = f"{np.mean([piece.bpm for piece in slices]):.1f} BPM {confidence}"
            tempo += f", or {' or '.join(f'{octave:.1f}' for octave in octaves)}" if octaves else ""
        yield f"  tempo    {f'{clock(start_s)} to {clock(end_s)}':>13}  {tempo}"
    for conflict in report.conflicts:
        span = f"{clock(conflict.start_s)} to {clock(conflict.end_s)}"
        sounds = f"{conflict.label} sounds like {conflict.estimate} {conflict.confidence:.2f}"
        yield f"  look at  {span:>13}  {conflict.what} {sounds}"


def _stretches(report: _Report) -> Iterator[tuple[float, float, list["Annotation"]]]:
    """Start, end and slices of stretches with one tempo."""
    # NaN, which differs from all numbers, is a slice without a tempo.
    bpm = np.array([piece.bpm or np.nan for piece in report.slices])
    same = (np.abs(bpm[1:] / bpm[:-1] - 1) < _SAME_TEMPO) | (np.isnan(bpm[1:]) & np.isnan(bpm[:-1]))
    borders = [0, *(np.flatnonzero(~same) + 1).tolist(), len(bpm)]
    borders_s = [*report.starts_s, report.seconds]
    for first, end in itertools.pairwise(borders):
        yield borders_s[first], borders_s[end], report.slices[first:end]


def _csv(report: _Report) -> str:
    import pandas as pd

    rows = [
        {"file": str(report.file), "start_s": start_s, **{name: _cell(value) for name, value in asdict(piece).items()}}
        for start_s, piece in zip(report.starts_s, report.slices, strict=True)
    ]
    return pd.DataFrame(rows).to_csv(index=False, lineterminator="\n")


def _cell(value: Any) -> Any:
    if isinstance(value, list):
        return " ".join(f"{item:.2f}" for item in value)
    return f"{value:.4f}" if isinstance(value, float) else value


def _json(report: _Report) -> str:
    content = {
        "file": str(report.file),
        "seconds": report.seconds,
        "beats_s": [round(float(beat), 3) for beat in report.conclusion.beats_s],
        "slices": [{"start_s": s, **asdict(piece)} for s, piece in zip(report.starts_s, report.slices, strict=True)],
        "suspects": [conflict._asdict() for conflict in report.conflicts],
    }
    return textwrap.indent(json.dumps(content, indent=1, ensure_ascii=False), " ")


_FORMATS: dict[str, Callable[[_Report], str]] = {
    "table": lambda report: "".join(f"{line}\n" for line in _lines(report)),
    "csv": _csv,
    "json": _json,
}
