"""Whether recordings that change their mode are annotated by parts, and others as wholes.

    python -m benchmarks.modulation          # three minutes on two cores; prints, and writes into docs/annotation.md

A recording that modulates is made of three solos by one performer in three dastgahs, each of a minute or more (shorter
ones again); with their own tonics, or moved to one, where fewer tones change. Recordings that keep their mode are solos
of three to seven minutes. Scored by seconds; mahur and rast-panjgah, one scale, count as one.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import known, tables
from benchmarks.annotation_accuracy import DOCUMENT
from benchmarks.known import Known
from tarkib.annotation import evidence, modulation, tonality
from tarkib.annotation.pitch import BIN_CENTS, Pitch
from tarkib.audio import CLIP_SECONDS
from tarkib.runtime import parallel
from tarkib.vocabulary import SCALES

SEED = 203
"""Of the orchestra; the cost of a change was chosen on seeds 101 and 211."""

_LEAST_S = 60.0
_DRAWS = 4  # orders of each performer's solos
_TONIC_HZ = 220.0
_STEP = 3  # of the solos of several minutes


Solo = tuple[Known, Pitch]


class Long(NamedTuple):
    """A long recording, and its dastgah in each second."""

    pitch: Pitch
    dastgahs: list[str]


def pitch_of(one: Known) -> Solo:
    """A solo and its pitch, cut to whole slices."""
    found = evidence.extract([one.samples()])
    return one, found.pitch.between(0.0, found.seconds // CLIP_SECONDS * CLIP_SECONDS)


def joined(solos: Sequence[Solo], *, least_s: float = _LEAST_S, one_tonic: bool = False) -> Long:
    """Solos one after another, each again until it has lasted so long."""
    pieces: list[Pitch] = []
    dastgahs: list[str] = []
    for one, pitch in solos:
        if one_tonic:
            steps = round(1200.0 * float(np.log2(_TONIC_HZ / one.tonic_hz)) / BIN_CENTS)
            cents = pitch.cents + np.float32(steps * BIN_CENTS)
            pitch = Pitch(cents, pitch.power, np.roll(pitch.spectral, steps, axis=1))
        seconds = len(pitch.spectral) * int(CLIP_SECONDS)
        times = max(1, int(np.ceil(least_s / seconds)))
        pieces += [pitch] * times
        dastgahs += [str(one.dastgah)] * (times * seconds)
    return Long(Pitch(*(np.concatenate(arrays) for arrays in zip(*pieces, strict=True))), dastgahs)


def modulating(some: Sequence[Solo], *, one_tonic: bool) -> list[Long]:
    """Three solos in three scales by every performer on an instrument, in several orders."""
    by_performer = defaultdict(list)
    for one, pitch in some:
        by_performer[one.performer, one.instrument].append((one, pitch))
    rng = np.random.default_rng(1)
    found = []
    for solos in by_performer.values():
        for _ in range(_DRAWS):
            order = [solos[i] for i in rng.permutation(len(solos))]
            chosen = list({SCALES[str(solo[0].dastgah)]: solo for solo in order}.values())[:3]
            if len(chosen) == 3:
                found.append(joined(chosen, one_tonic=one_tonic))
    return found


def row(title: str, some: Sequence[Long]) -> list[object]:
    """A row of the table."""
    whole, parted, changes = [], [], 0
    for pitch, dastgahs in some:
        scales = [SCALES[name] for name in dastgahs]
        free = tonality.estimate(pitch)
        whole += [free.dastgah is not None and SCALES[free.dastgah] == scale for scale in scales]
        parts = modulation.parts(pitch, float(len(scales)))
        changes += len(parts) - 1
        for start_s, end_s, part in parts:
            here = scales[int(start_s) : int(end_s)]
            parted += [part.dastgah is not None and SCALES[part.dastgah] == scale for scale in here]
    return [title, len(some), f"{np.mean(whole):.0%}", f"{np.mean(parted):.0%}", f"{changes / len(some):.1f}"]


def report(orchestra: Sequence[Solo], long: Sequence[Solo], real: Sequence[Solo]) -> str:
    """The table, in Markdown."""
    rows = [row("orchestra, one dastgah, 3 to 7 minutes", [joined([solo], least_s=0.0) for solo in long])]
    for title, some in (("orchestra", orchestra), ("real solos", real)):
        for how, one_tonic in (("each with its tonic", False), ("on one tonic", True)):
            if some:
                rows.append(row(f"{title}, three dastgahs {how}", modulating(some, one_tonic=one_tonic)))
    header = ["", "recordings", "seconds right, as wholes", "by parts", "changes found in each"]
    about = f"Measured with `python -m benchmarks.modulation` on orchestras of seeds {SEED} and {SEED + 1}."
    return f"{about}\n\n{tables.markdown(header, rows)}"


def main() -> None:
    """Measure, print, and put the table into the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--audio", type=Path, default=known.REAL, help="folder of real recordings with a manifest.csv")
    options = parser.parse_args()
    text = report(
        solos(known.of_orchestra(SEED, 1)),
        solos(known.of_orchestra(SEED + 1, 1, (180.0, 420.0))[::_STEP]),
        solos(one for one in known.of_folder(options.audio) if one.group == "raw"),
    )
    print(text)
    tables.fill(DOCUMENT, "modulation", text)


def solos(some: Iterable[Known]) -> list[Solo]:
    """The pitch of those whose dastgah is known."""
    return list(parallel.map_jobs(pitch_of, [one for one in some if one.dastgah], what="analysing"))


if __name__ == "__main__":
    main()
