"""How a data set's instruments, tempi and dastgahs are distributed: counts of the whole data set, not of the page."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tarkib.preview.dataset import Mixtures, Slices
from tarkib.vocabulary import AVAZES, DASTGAHS, INSTRUMENTS, PERCUSSION

_MAX_BINS = 10
_BPM, _STRETCH = 5.0, 0.05  # the narrowest bins


class Distribution(NamedTuple):
    """Counts by label. They need not add up to `total`, the number of items: a mixture has several instruments."""

    title: str
    counted: str
    total: int
    counts: list[tuple[str, int]]

    def share(self, count: int) -> str:
        """Return a count as a share of the total, in words."""
        percent = 100 * count / self.total
        return "<1 %" if 0 < percent < 1 else f"{percent:.0f} %"


def distributions(dataset: Mixtures | Slices) -> Iterator[Distribution]:
    """Yield all distributions of a data set in the order of the page."""
    total = len(dataset.rows)
    if isinstance(dataset, Mixtures):
        yield from _of_mixtures(dataset, total)
        return
    instruments = Counter(row["instrument"] for row in dataset.rows)
    yield Distribution("Instruments", "slices of each", total, _words(instruments, INSTRUMENTS))
    splits = Counter(row["split"] for row in dataset.rows)
    yield Distribution("Split", "slices of each", total, _words(splits, ("train", "validation")))
    annotations = dataset.annotations
    dastgahs = Counter(_dastgah({**row, **annotations.get(row["slice_id"], {})}) for row in dataset.rows)
    source = "slices, by label or estimate" if annotations else "slices, by label"
    yield Distribution("Dastgah", source, total, _words(dastgahs, DASTGAHS))
    if any(row["avaz"] for row in dataset.rows):
        avazes = Counter(row["avaz"] or "none" for row in dataset.rows)
        yield Distribution("Avaz (mode)", "slices, by label", total, _words(avazes, tuple(AVAZES)))
    if annotations:
        tempi = [annotations[row["slice_id"]]["bpm"] for row in dataset.rows]
        yield Distribution("Tempo", "slices, by BPM", total, _bins(tempi, _BPM, "free"))


def _of_mixtures(dataset: Mixtures, total: int) -> Iterator[Distribution]:
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
    if any(targets):
        yield Distribution("Target tempo", "mixtures, by BPM", total, _bins(targets, _BPM, "no target"))
    components = [row for rows in mixtures for row in rows]
    tempi = [row["bpm"] and row["bpm"] * row["stretch"] for row in components]
    yield Distribution("Tempo as mixed", "components, by BPM", len(components), _bins(tempi, _BPM, "free"))
    stretches = [row["stretch"] if row["stretch"] != 1.0 else None for row in components]
    counts = _bins(stretches, _STRETCH, "not stretched")
    yield Distribution("Stretch", "components, by factor", len(components), counts)


def _dastgah(row: dict) -> str:
    return row["dastgah"] or ("percussion" if row["instrument"] in PERCUSSION else "unknown")


def _words(counts: Counter, order: Sequence[str]) -> list[tuple[str, int]]:
    """Counts above 0: known words in their order, then the others by name."""
    return [(name, counts[name]) for name in (*order, *sorted(counts.keys() - set(order))) if counts[name]]


def _bins(values: Sequence[float | None], step: float, without: str) -> list[tuple[str, int]]:
    """Counts in bins of the width `step`, doubled until they are few enough; `without` labels the count of None."""
    numeric = [value for value in values if value is not None]
    rest = [(without, len(values) - len(numeric))]
    while numeric:
        # The small part keeps 1.15, which is 22.99… times 0.05, in the bin that begins there. The last bin has both its
        # ends, or the greatest stretch would open a bin beyond augment.max_stretch.
        last = max(math.ceil(max(numeric) / step - 1e-9) - 1, math.floor(min(numeric) / step + 1e-9))
        numbers = Counter(min(math.floor(value / step + 1e-9), last) for value in numeric)
        if max(numbers) - min(numbers) < _MAX_BINS:
            digits = 0 if step >= 1 else 2
            bins = range(min(numbers), max(numbers) + 1)
            return [(f"{n * step:.{digits}f}–{(n + 1) * step:.{digits}f}", numbers[n]) for n in bins] + rest
        step *= 2
    return rest
