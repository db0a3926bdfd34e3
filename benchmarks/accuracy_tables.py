"""The accuracy report's tables: what `annotation_accuracy` measured, counted.

A tempo is right within 4 % (Acc1), or within 4 % of it, its half, double, third or triple (Acc2), as in Gouyon et al.,
"An experimental comparison of audio tempo induction algorithms", IEEE TASLP 2006. A tonic is right within 50 cents,
modulo octave. Tempi are scored as the annotations give them: where the confidence is below `min_confidence` there is
none, and such slices are counted apart. A confidence is held against what it claims: the tempo modulo octave, the
tonic, the dastgah, the family.
"""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.known import CYCLES
from benchmarks.measured import Measured, Slice
from benchmarks.solos import BUILDING, ONCE
from benchmarks.tables import machine, markdown, share
from tarkib.annotation import octaves
from tarkib.annotation.conclusion import TEMPO_TOLERANCE, TONIC_TOLERANCE_CENTS
from tarkib.annotation.tonality import FAMILY
from tarkib.evaluation.metrics import expected_calibration_error, reliability
from tarkib.params import Annotate
from tarkib.vocabulary import DASTGAHS, PERCUSSION

_LONG_S = 30.0
_PARAMS = Annotate()
_DRAWS = 500
_GROUPS = {"orchestra": "demo orchestra", "raw": "real recordings", "pitchsets": "real pitch sets"}


def report(measured: Sequence[Measured], seeds: Sequence[int]) -> str:
    """All tables, in Markdown."""
    by_group = {name: [one for one in measured if one.known.group == name] for name in ("tempo", "drums", *_GROUPS)}
    orchestra = by_group["orchestra"]
    minutes = sum(one.seconds for one in orchestra) / 60
    parts = [
        f"Measured with `python -m benchmarks.annotation_accuracy` on {machine()}; demo orchestra of seeds "
        f"{', '.join(map(str, seeds))}: {len(orchestra)} solos, {minutes:.0f} minutes.",
        "### Tempo",
        _tempo_table(by_group),
        _tempo_by("instrument", orchestra, lambda one: one.known.instrument),
        "Drummers of these seeds in six cycles; nothing was fitted to the patterns of 3/4 and 5/8:",
        _tempo_by("cycle", by_group["drums"], lambda one: CYCLES[one.known.source.place[1]].name),
        _tempo_files(by_group["tempo"]),
        "### Tonic and dastgah",
        _tonality_table(by_group),
        _drums(orchestra),
        *(_confusion(title, by_group[name]) for name, title in _GROUPS.items() if by_group[name]),
        _tonality_files(by_group["raw"] + by_group["pitchsets"]),
        "### Calibration",
        _calibration(by_group),
    ]
    return "\n\n".join(part for part in parts if part)


def right_tempo(bpm: float, true_bpm: float, factors: Sequence[float] = (1.0,)) -> bool:
    """Whether a tempo is within the tolerance of the true one times one of the factors."""
    return any(abs(bpm / (true_bpm * factor) - 1.0) <= TEMPO_TOLERANCE for factor in factors)


OCTAVES = (1.0, 2.0, 0.5)
LEVELS = (*OCTAVES, 3.0, 1 / 3)


def right_tonic(hz: float | None, true_hz: float) -> bool:
    """Whether a tonic is right, modulo octave."""
    return hz is not None and 1200.0 * octaves.apart(hz, true_hz) <= TONIC_TOLERANCE_CENTS


def _metred(some: Sequence[Measured]) -> list[Slice]:
    return [piece for one in some for piece in one.slices if piece.true_bpm is not None]


def _accuracies(pieces: Sequence[Slice], value: Callable[[Slice], float]) -> list[str | None]:
    if not pieces:
        return [None, None]
    return [
        f"{np.mean([right_tempo(value(piece), piece.true_bpm, factors) for piece in pieces]):.1%}"
        for factors in ((1.0,), LEVELS)
    ]


def _ours(piece: Slice) -> float:
    return piece.bpm


def _kept(pieces: Sequence[Slice]) -> list[Slice]:
    """Slices that get a tempo; it is null in the others."""
    return [piece for piece in pieces if piece.confidence >= _PARAMS.min_confidence]


def _tempo_table(by_group: dict[str, list[Measured]]) -> str:
    rows = []
    for name, title in (("orchestra", "demo orchestra"), ("drums", "drummers"), ("tempo", "real, annotated tempo")):
        some = by_group[name]
        metred = _metred(some)
        if not metred:
            continue
        free = [piece for one in some for piece in one.slices if piece.true_bpm is None]
        auc = None
        if free:
            truth = np.repeat([1, 0], [len(metred), len(free)])
            auc = float(roc_auc_score(truth, [piece.confidence for piece in metred + free]))
        beats = [one.beat_f for one in some if one.beat_f is not None]
        whole = [*_accuracies(_kept(metred), _ours), *_accuracies(metred, _ours)]
        told = [_percent(metred), _percent(free)]
        rows.append([f"**Tarkib**, {title}", *told, *whole, auc, float(np.mean(beats)) if beats else None])
        if metred[0].librosa_bpm is not None:
            theirs = _accuracies(metred, lambda piece: piece.librosa_bpm or 0.0)
            rows.append([f"librosa `beat_track`, {title}", None, None, None, None, *theirs, None, None])
    header = ["", "metred slices with a tempo", "free ones with a tempo", "Acc1 of the tempi", "Acc2 of the tempi"]
    header += ["Acc1, nulls estimated too", "Acc2", "metre against free rhythm, AUC", "beats, F at 70 ms"]
    return markdown(header, rows)


def _percent(pieces: Sequence[Slice]) -> str | None:
    return f"{len(_kept(pieces))} of {len(pieces)}, {len(_kept(pieces)) / len(pieces):.0%}" if pieces else None


def _tempo_by(what: str, every: Sequence[Measured], key: Callable[[Measured], str]) -> str:
    rows = []
    for name in dict.fromkeys(map(key, every)):
        some = [one for one in every if key(one) == name]
        pieces = _metred(some)
        beats = [one.beat_f for one in some if one.beat_f is not None]
        kept = _kept(pieces)
        right = f"{np.mean([right_tempo(p.bpm, p.true_bpm, OCTAVES) for p in kept]):.1%}" if kept else None
        rows.append([name, _percent(pieces), *_accuracies(kept, _ours), right, float(np.mean(beats))])
    header = [what, "metred slices with a tempo", "Acc1", "Acc2", "right modulo octave", "beats, F"]
    return markdown(header, rows)


def _tempo_files(some: Sequence[Measured]) -> str:
    rows = []
    for one in some:
        pieces = one.slices
        if pieces:
            kept = _kept(pieces)
            ours = f"{np.median([piece.bpm for piece in kept]):.1f}" if kept else None
            theirs = None
            if pieces[0].librosa_bpm is not None:
                theirs = f"{np.median([piece.librosa_bpm or 0.0 for piece in pieces]):.1f}"
            confidence = float(np.mean([piece.confidence for piece in pieces]))
            counted = [sum(right_tempo(p.bpm, p.true_bpm, factors) for p in kept) for factors in ((1.0,), LEVELS)]
            row = [one.known.name, f"{one.known.bpm:g}", len(pieces), len(kept), *counted]
            rows.append([*row, ours, f"{confidence:.2f}", theirs])
    header = ["file", "BPM", "slices", "with a tempo", "Acc1", "Acc2", "median", "mean confidence", "librosa's median"]
    return markdown(header, rows) if rows else ""


def _tonality_table(by_group: dict[str, list[Measured]]) -> str:
    rows = []
    for name, title in _GROUPS.items():
        some = [one for one in by_group[name] if one.known.dastgah]
        if not some:
            continue
        long = [one for one in some if one.seconds >= _LONG_S]

        def tonics(chosen: Sequence[Measured]) -> str:
            return share([right_tonic(one.given.tonic_hz, one.known.tonic_hz) for one in chosen])

        theirs = [right_tonic(one.librosa_tonic_hz, one.known.tonic_hz) for one in some]
        rows.append(
            [
                f"**Tarkib**, {title}",
                tonics(some),
                tonics(long),
                share([one.free.dastgah == one.known.dastgah for one in some]),
                share([_one_scale(one.free.dastgah, one.known.dastgah) for one in some]),
                share([one.free.family == FAMILY[one.known.dastgah] for one in some]),
            ]
        )
        if some[0].librosa_dastgah is None:
            continue
        families = [FAMILY[one.librosa_dastgah] == FAMILY[one.known.dastgah] for one in some]
        rows.append(
            [
                f"librosa chroma, {title}",
                share(theirs),
                share([right for right, one in zip(theirs, some, strict=True) if one.seconds >= _LONG_S]),
                share([one.librosa_dastgah == one.known.dastgah for one in some]),
                share([_one_scale(one.librosa_dastgah, one.known.dastgah) for one in some]),
                share(families),
            ]
        )
    header = ["", "tonic, given the dastgah", "of 30 s or more", "dastgah", "mahur and rast-panjgah as one", "family"]
    return markdown(header, rows)


def _one_scale(found: str | None, true: str) -> bool:
    alike = {"rast-panjgah": "mahur"}
    return found is not None and alike.get(found, found) == alike.get(true, true)


def _drums(orchestra: Sequence[Measured]) -> str:
    some = [one for one in orchestra if one.known.instrument in PERCUSSION]
    wrong = [one for one in some if one.free.dastgah is not None]
    return f"Drums without their label: a dastgah is estimated in {len(wrong)} of {len(some)} recordings."


def _confusion(title: str, some: Sequence[Measured]) -> str:
    found = [*DASTGAHS, None]
    rows = []
    for true in DASTGAHS:
        counts = [sum(one.free.dastgah == name for one in some if one.known.dastgah == true) for name in found]
        rows.append([true, *(count or "·" for count in counts)])
    return f"{title.capitalize()}, true dastgah (rows) and estimate:\n\n" + markdown(
        ["", *(name or "none" for name in found)], rows
    )


def _tonality_files(some: Sequence[Measured]) -> str:
    rows = []
    for one in some:
        if one.known.dastgah is None:
            continue
        free, given = one.free, one.given
        cents = None
        if given.tonic_hz is not None:
            octaves = np.log2(given.tonic_hz / one.known.tonic_hz)
            cents = f"{1200 * (octaves - round(octaves)):+.0f}"
        rows.append(
            [
                one.known.name,
                f"{one.seconds:.0f}",
                one.known.dastgah,
                _guess(free.dastgah, free.dastgah_confidence),
                _guess(free.family, free.family_confidence),
                cents,
                f"{given.tonic_confidence:.2f}",
            ]
        )
    header = ["file", "s", "dastgah", "estimate", "family", "tonic off, cents, given the dastgah", "its confidence"]
    return "Every real recording:\n\n" + markdown(header, rows) if rows else ""


def _guess(name: str | None, confidence: float) -> str:
    return f"{name} {confidence:.2f}" if name else "none"


def _claims(some: Sequence[Measured]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Each kind of confidence, and whether what it speaks of was right."""

    def paired(pairs: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
        columns = np.array(pairs, float).reshape(-1, 2)
        return columns[:, 0], columns[:, 1]

    pitched = [(one.known, one.free, one.given) for one in some if one.known.dastgah]
    return {
        "tempo": paired(
            [
                (p.confidence, p.true_bpm is not None and right_tempo(p.bpm, p.true_bpm, OCTAVES))
                for one in some
                for p in one.slices
            ]
        ),
        "tonic, given the dastgah": paired(
            [(given.tonic_confidence, right_tonic(given.tonic_hz, known.tonic_hz)) for known, _, given in pitched]
        ),
        "tonic, unlabelled": paired(
            [(free.tonic_confidence, right_tonic(free.tonic_hz, known.tonic_hz)) for known, free, _ in pitched]
        ),
        "dastgah": paired([(free.dastgah_confidence, free.dastgah == known.dastgah) for known, free, _ in pitched]),
        "family": paired(
            [(free.family_confidence, free.family == FAMILY[known.dastgah]) for known, free, _ in pitched]
        ),
    }


def _errors(confidence: np.ndarray, right: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Expected calibration error, and its mean if each confidence were exactly the probability of being right."""
    drawn = [expected_calibration_error(confidence, rng.random(len(right)) < confidence) for _ in range(_DRAWS)]
    return expected_calibration_error(confidence, right), float(np.mean(drawn))


def _calibration(by_group: dict[str, list[Measured]]) -> str:
    real = [one for name in ("tempo", "raw", "pitchsets") for one in by_group[name]]
    groups = {"orchestra": by_group["orchestra"]}
    groups |= {f"real, {half}": [one for one in real if one.known.half == half] for half in (BUILDING, ONCE)}
    claims = {title: _claims(some) for title, some in groups.items()}
    orchestra, rng = claims["orchestra"], np.random.default_rng(1)
    errors = []
    for kind in orchestra:
        row: list[object] = [kind]
        for of_kind in (claim[kind] for claim in claims.values()):
            row += [len(of_kind[0]), *(_errors(*of_kind, rng) if len(of_kind[0]) else (None, None))]
        errors.append(row)
    header = ["confidence of the"]
    for title in claims:
        header += [f"{title}, n", "expected calibration error", "by chance"]
    bins = [[f"{k / 10:.1f}–{(k + 1) / 10:.1f}"] for k in range(10)]
    for claim in orchestra.values():
        for row, one in zip(bins, reliability(*claim), strict=True):
            row.append(f"{one.right:.2f} ({one.count})" if one.count else None)
    return (
        markdown(header, errors)
        + "\n\nShare that was right (and how many) by confidence, demo orchestra:\n\n"
        + markdown(["confidence", *orchestra], bins)
    )
