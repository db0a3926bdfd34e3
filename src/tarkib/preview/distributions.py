"""How a data set's instruments, tempi and dastgahs are distributed: counts of the whole data set, not of the page."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tarkib.preview.dataset import Mixtures, Slices
from tarkib.vocabulary import DASTGAHS, INSTRUMENTS, PERCUSSION

_MAX_BINS = 10
_BPM_STEPS = (5.0, 10.0, 20.0, 40.0, 80.0)
_STRETCH_STEPS = (0.02, 0.05, 0.1, 0.2, 0.5)
_LENGTH_STEPS = (1.0, 2.0, 5.0, 10.0, 50.0, 200.0)


@dataclass(frozen=True)
class Distribution:
    """Counts by label. They need not add up to `total`, the number of items: a mixture has several instruments."""

    title: str
    counted: str
    """what is counted, in words"""
    total: int
    counts: list[tuple[str, int]]

    def share(self, count: int) -> str:
        """Return a count as a share of the total, in words."""
        percent = 100 * count / self.total
        return "<1 %" if 0 < percent < 1 else f"{percent:.0f} %"


def distributions(dataset: Mixtures | Slices) -> list[Distribution]:
    """Return all distributions of a data set in the order of the page."""
    return list(_of_mixtures(dataset) if isinstance(dataset, Mixtures) else _of_slices(dataset))


def _of_mixtures(dataset: Mixtures) -> Iterator[Distribution]:
    total = len(dataset.rows)
    mixtures = [dataset.components[row["mixture_id"]] for row in dataset.rows]
    instruments = Counter(name for rows in mixtures for name in {row["instrument"] for row in rows})
    yield Distribution("Instruments", "mixtures with each", total, _words(instruments, INSTRUMENTS))
    voices = Counter(map(len, mixtures))
    counts = [(str(n), voices[n]) for n in sorted(voices)]
    yield Distribution("Polyphony", "mixtures by number of components", total, counts)
    dastgahs = Counter(name for rows in mixtures for name in {_dastgah(row) for row in rows} - {"percussion"})
    dastgahs["percussion alone"] = sum(all(row["instrument"] in PERCUSSION for row in rows) for rows in mixtures)
    yield Distribution("Dastgah", "mixtures with each", total, _words(dastgahs, DASTGAHS))
    targets = [row["target_bpm"] for row in dataset.rows]
    if any(bpm is not None for bpm in targets):
        yield Distribution("Target tempo", "mixtures, by BPM", total, _bins(targets, _BPM_STEPS, "no target"))
    components = [row for rows in mixtures for row in rows]
    tempi = [row["bpm"] and row["bpm"] * row["stretch"] for row in components]
    yield Distribution("Tempo as mixed", "components, by BPM", len(components), _bins(tempi, _BPM_STEPS, "free"))
    stretches = [row["stretch"] if row["stretch"] != 1.0 else None for row in components]
    counts = _bins(stretches, _STRETCH_STEPS, "not stretched")
    yield Distribution("Stretch", "components, by factor", len(components), counts)


def _of_slices(dataset: Slices) -> Iterator[Distribution]:
    total, rows = len(dataset.rows), dataset.rows
    yield Distribution(
        "Instruments", "slices of each", total, _words(Counter(row["instrument"] for row in rows), INSTRUMENTS)
    )
    splits = Counter(row["split"] for row in rows)
    yield Distribution("Split", "slices of each", total, _words(splits, ("train", "validation")))
    lengths = Counter(row["recording_id"] for row in rows).values()
    yield Distribution(
        "Length", "recordings, by slices", len(lengths), _bins([float(n) for n in lengths], _LENGTH_STEPS)
    )
    annotations = dataset.annotations
    dastgahs = Counter(
        _dastgah(row if annotations is None else row | {"dastgah": annotations[row["slice_id"]]["dastgah"]})
        for row in rows
    )
    source = "slices, by label" if annotations is None else "slices, by label or estimate"
    yield Distribution("Dastgah", source, total, _words(dastgahs, DASTGAHS))
    if annotations is not None:
        tempi = [annotations[row["slice_id"]]["bpm"] for row in rows]
        yield Distribution("Tempo", "slices, by BPM", total, _bins(tempi, _BPM_STEPS, "free"))


def _dastgah(row: dict) -> str:
    return row["dastgah"] or ("percussion" if row["instrument"] in PERCUSSION else "unknown")


def _words(counts: Counter, order: Sequence[str]) -> list[tuple[str, int]]:
    """Counts above 0: known words in their order, then the others by name."""
    names = (*order, *sorted(counts.keys() - set(order)))
    return [(name, counts[name]) for name in names if counts[name]]


def _bins(values: Sequence[float | None], steps: Sequence[float], without: str | None = None) -> list[tuple[str, int]]:
    """Counts in bins of the first width that gives few enough of them; `without` labels the count of None."""
    numeric = [value for value in values if value is not None]
    rest = [(without, len(values) - len(numeric))] if without else []
    if not numeric:
        return rest
    for step in steps:
        # The small part keeps 1.16, which is 57.99… times 0.02, in the bin that begins there.
        numbers = Counter(math.floor(value / step + 1e-9) for value in numeric)
        bins = range(min(numbers), max(numbers) + 1)
        if len(bins) <= _MAX_BINS:
            break
    digits = max(0, -math.floor(math.log10(step)))
    whole = step == 1.0
    labels = (f"{n}" if whole else f"{n * step:.{digits}f}–{(n + 1) * step:.{digits}f}" for n in bins)
    return [(label, numbers[n]) for label, n in zip(labels, bins, strict=True)] + rest
