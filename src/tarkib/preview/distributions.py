"""How a data set's instruments, tempi and dastgahs are spread: counts of everything in it, not of what is shown."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tarkib.preview.dataset import Mixtures, Slices
from tarkib.vocabulary import DASTGAHS, INSTRUMENTS, PERCUSSION

_MOST_BINS = 10
_BPM_STEPS = (5.0, 10.0, 20.0, 40.0, 80.0)
_STRETCH_STEPS = (0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Distribution:
    """A title, what is counted, how many there are of it, and a count for each label.

    A label that is a word of the vocabulary is its canonical name. Counts need not add up to `total`: a mixture has
    several instruments.
    """

    title: str
    counted: str
    total: int
    counts: tuple[tuple[str, int], ...]


def of(dataset: Mixtures | Slices) -> list[Distribution]:
    """All distributions of a data set, in the order in which they are told."""
    return list(_of_mixtures(dataset) if isinstance(dataset, Mixtures) else _of_slices(dataset))


def _of_mixtures(dataset: Mixtures) -> Iterator[Distribution]:
    total = len(dataset.rows)
    everything = [dataset.components[row["mixture_id"]] for row in dataset.rows]
    instruments = Counter(name for rows in everything for name in {one["instrument"] for one in rows})
    yield Distribution("Instruments", "mixtures with each", total, _words(instruments, INSTRUMENTS))
    voices = Counter(len(rows) for rows in everything)
    yield Distribution(
        "Polyphony", "mixtures with so many components", total, tuple((str(n), voices[n]) for n in sorted(voices))
    )
    dastgahs = Counter(
        name for rows in everything for name in {one["dastgah"] or _without(one["instrument"]) for one in rows} - {""}
    )
    dastgahs["percussion alone"] = sum(all(one["instrument"] in PERCUSSION for one in rows) for rows in everything)
    yield Distribution("Dastgah", "mixtures with each", total, _words(dastgahs, DASTGAHS))
    targets = [row["target_bpm"] for row in dataset.rows]
    if any(bpm is not None for bpm in targets):
        rest = (("no target", sum(bpm is None for bpm in targets)),)
        yield Distribution("Target tempo", "mixtures, by BPM", total, _bins(targets, _BPM_STEPS) + rest)
    components = [one for rows in everything for one in rows]
    heard = [one["bpm"] and one["bpm"] * one["stretch"] for one in components]
    rest = (("free", sum(bpm is None for bpm in heard)),)
    yield Distribution("Tempo as heard", "components, by BPM", len(components), _bins(heard, _BPM_STEPS) + rest)
    stretches = [one["stretch"] if one["stretch"] != 1.0 else None for one in components]
    rest = (("not stretched", sum(one is None for one in stretches)),)
    yield Distribution("Stretch", "components, by factor", len(components), _bins(stretches, _STRETCH_STEPS) + rest)


def _of_slices(dataset: Slices) -> Iterator[Distribution]:
    total = len(dataset.rows)
    instruments = Counter(row["instrument"] for row in dataset.rows)
    yield Distribution("Instruments", "slices of each", total, _words(instruments, INSTRUMENTS))
    splits = Counter(row["split"] for row in dataset.rows)
    yield Distribution("Split", "slices of each", total, _words(splits, ("train", "validation")))
    recordings = Counter(row["recording_id"] for row in dataset.rows)
    lengths = [float(n) for n in recordings.values()]
    yield Distribution(
        "Length", "recordings, by slices", len(recordings), _bins(lengths, (1.0, 2.0, 5.0, 10.0, 50.0, 200.0))
    )
    if dataset.annotations is None:
        labels = Counter(row["dastgah"] or _without(row["instrument"]) or "percussion" for row in dataset.rows)
        yield Distribution("Dastgah", "slices, by label", total, _words(labels, DASTGAHS))
        return
    annotated = [dataset.annotations[row["slice_id"]] for row in dataset.rows]
    dastgahs = Counter(
        about["dastgah"] or _without(row["instrument"]) or "percussion"
        for row, about in zip(dataset.rows, annotated, strict=True)
    )
    yield Distribution("Dastgah", "slices, by label or estimate", total, _words(dastgahs, DASTGAHS))
    tempi = [about["bpm"] for about in annotated]
    rest = (("free", sum(bpm is None for bpm in tempi)),)
    yield Distribution("Tempo", "slices, by BPM", total, _bins(tempi, _BPM_STEPS) + rest)


def _without(instrument: str) -> str:
    """How a component without a dastgah counts: percussion not at all."""
    return "" if instrument in PERCUSSION else "unknown"


def _words(counts: Counter, order: Sequence[str]) -> tuple[tuple[str, int], ...]:
    """Known words in their order, then the others by name; none that does not occur."""
    names = (*order, *sorted(counts.keys() - set(order)))
    return tuple((name, counts[name]) for name in names if counts[name])


def _bins(values: Iterable[float | None], steps: Sequence[float]) -> tuple[tuple[str, int], ...]:
    """Counts of values, None left out, in bins as narrow as the first of the steps that gives few enough of them."""
    there = [value for value in values if value is not None]
    if not there:
        return ()
    for step in steps:
        # The small part keeps 1.16, which is 57.99… times 0.02, in the bin that begins there.
        numbers = Counter(math.floor(value / step + 1e-9) for value in there)
        first, last = min(numbers), max(numbers)
        if last - first < _MOST_BINS:
            break
    digits = max(0, -math.floor(math.log10(step)))
    return tuple((_span(n * step, (n + 1) * step, digits), numbers[n]) for n in range(first, last + 1))


def _span(low: float, high: float, digits: int) -> str:
    if digits == 0 and high - low == 1.0:
        return f"{low:.0f}"
    return f"{low:.{digits}f}–{high:.{digits}f}"
