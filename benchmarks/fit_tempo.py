"""Fits the combs of `tarkib.annotation.tempo` and their calibrations, and writes them to combs.json.

    python -m benchmarks.fit_tempo                     # about ten minutes on two cores
    python -m benchmarks.fit_tempo drums sustained     # some kinds alone

From solos of the demo orchestra of `SEEDS`, which no report uses; for drums also from drummers of `DRUM_SEEDS`, who
play patterns drawn at random in `known.CYCLES`. A comb's score of a tempo is linear in the autocorrelations at ratios
of its period; the combs are joined by a log-sum-exp, and the weights are those that make the truth likeliest among all
tempi and no metre at all (multinomial logistic regression, L-BFGS, with an L2 penalty). Each window is taken at another
speed, so that true tempi spread over all candidates; shuffled windows add free rhythm; metronomes and random onsets are
the simplest cases. The confidence is then fitted by logistic regression to whether the tracked tempo was right modulo
octave.
"""

import argparse
import json
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from benchmarks import known
from benchmarks.accuracy_tables import OCTAVES, right_tempo
from benchmarks.known import Known
from tarkib.annotation import evidence, tempo
from tarkib.annotation.onset import FRAME_RATE, RANGES
from tarkib.audio import CLIP_SECONDS
from tarkib.params import Annotate
from tarkib.runtime import parallel

FILE = Path(tempo.__file__).with_name("combs.json")
SEEDS = (101, 102, 104, 106, 107, 108)
DRUM_SEEDS = (501, 502, 503)
STARTS = (
    {1 / 2: 1.0, 2.0: 1.0, 4.0: 1.0},
    {1 / 3: 1.0, 2 / 3: 1.0, 2.0: 1.0},
    {1 / 2: 1.0, 7 / 2: 1.0, 7.0: 1.0},
    dict.fromkeys((1 / 4, 1 / 3, 1 / 2, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0), 0.5),
    {1 / 2: 1.0, 3 / 2: 1.0, 3.0: 1.0, 6.0: 1.0},
    {1 / 2: 1.0, 5 / 2: 1.0, 5.0: 1.0},
)
"""What each comb begins as: beats in halves, in thirds, bars of three and a half (7/8), a plain pulse; 3/4, 5/8."""
KINDS = {"any": (4, 3e-3), "sustained": (4, 1e-3), "drums": (6, 3e-4)}
"""Combs of each kind, and the penalty; chosen on seeds 103, 201, 202, 203, on drummers of 301, 401, 402."""
SIMPLE = 300
"""Number of simple windows, in addition to the orchestra's eight thousand."""

DRAWN = 2000
"""Number of windows of drawn drumming, about as many as played."""

_LOUD = {"T": 1.0, "t": 0.8, "b": 0.9, "p": 0.5, "r": 0.5, ".": 0.0}  # strokes at most
_EVERY_S = 4
_COLUMNS = RANGES + 1  # of the onset strength: its ranges and the changes of pitch
_ROUNDS = 400
_FASTEST = 1.5  # the largest factor by which a window is sped up or slowed down
_WIDTH_OCTAVES = 0.018  # a tempo that is off by a percent is nearly as right as the right one
_SHUFFLED = 0.3  # shuffled windows, as a share of those whose tempo is known
_SETTINGS = Annotate()
_GRID = tempo.tempo_grid(_SETTINGS.min_bpm, _SETTINGS.max_bpm)


def onset_of(one: Known) -> np.ndarray:
    """Onset strength of a solo, as in the stage."""
    return evidence.extract([one.samples()]).onset


def examples(one: Known, onset: np.ndarray, rng: np.random.Generator) -> list[tuple[np.ndarray, float | None]]:
    """Features of windows, each at a speed of its own, and their tempi then; None where they have none."""
    size = min(int(tempo.WINDOW_S * FRAME_RATE), len(onset))
    whole, apart = tempo._pulses(onset), tempo._pulses(shuffled(onset, rng))
    found: list[tuple[np.ndarray, float | None]] = []
    for second in range(2, len(onset) // FRAME_RATE - 1, _EVERY_S):
        start = int(np.clip(second * FRAME_RATE - size // 2, 0, len(onset) - size))
        free = one.bpm is None or start / FRAME_RATE + tempo.WINDOW_S < one.free_until_s
        if not free and second < one.free_until_s + 3:
            continue
        taken_apart = rng.random() < _SHUFFLED
        true_bpm = None if free or taken_apart else one.bpm
        about = true_bpm or float(np.sqrt(_GRID[0] * _GRID[-1]))
        low, high = max(_GRID[0], about / _FASTEST), min(_GRID[-1], about * _FASTEST)
        as_if = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        pulses = apart if taken_apart else whole
        features = tempo.levels(pulses[:, None, start : start + size], _GRID * (about / as_if))
        found.append((features[0], true_bpm and as_if))
    return found


def shuffled(onset: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Free rhythm, made by shuffling a window's pieces, of log-normal length around half a second."""
    lengths = np.exp(rng.normal(np.log(0.45), 0.6, 4 * len(onset) // FRAME_RATE + 4)) * FRAME_RATE
    cuts = np.cumsum(lengths).astype(int)
    pieces = np.split(onset, cuts[cuts < len(onset)])
    rng.shuffle(pieces)
    return np.concatenate(pieces)


def simple(count: int, rng: np.random.Generator) -> list[tuple[np.ndarray, float | None]]:
    """So many simple windows: half of them metronomes, half onsets at random times."""
    found: list[tuple[np.ndarray, float | None]] = []
    for k in range(count):
        bpm = float(np.exp(rng.uniform(np.log(_GRID[0] / 1.25), np.log(_GRID[-1] * 1.25)))) if k % 2 else None
        if bpm:
            starts = np.arange(rng.uniform(0, 60 / bpm), tempo.WINDOW_S, 60 / bpm)
            starts = starts + rng.normal(0, 0.008, len(starts))
        else:
            lengths = np.exp(rng.normal(np.log(rng.uniform(0.25, 0.8)), rng.uniform(0.35, 0.9), 200))
            starts = np.cumsum(np.clip(lengths, 0.08, 4.0))
        level = rng.uniform(0.7, 1.0, (len(starts), 1)) * rng.uniform(0.05, 0.3, _COLUMNS)
        found.append((_drawn(starts, level, rng), bpm))
    return found


def cycles(count: int, rng: np.random.Generator) -> list[tuple[np.ndarray, float | None]]:
    """So many windows of drumming in `known.CYCLES`, whose strokes differ between ranges as no drum's need do."""
    found: list[tuple[np.ndarray, float | None]] = []
    for _ in range(count):
        metre = known.CYCLES[rng.integers(len(known.CYCLES))]
        bpm = float(np.exp(rng.uniform(np.log(55), np.log(125 if metre.name == "2/4" else 180))))
        pulses = int(tempo.WINDOW_S * bpm * metre.per_beat / 60) + metre.pulses
        letters = list(known.pattern(rng, metre) * (1 + pulses // metre.pulses))
        starts = np.arange(len(letters)) * 60 / bpm / metre.per_beat - rng.uniform(0, 60 / bpm * metre.pulses)
        strokes = {letter: rng.uniform(0.0, 1.0, _COLUMNS) * loud for letter, loud in _LOUD.items()}
        strokes["T"][0], strokes["b"][0] = rng.uniform(0.5, 1.0), rng.uniform(0.0, 0.3)
        level = np.array([strokes[letter] for letter in letters]) * rng.uniform(0.1, 0.3)
        level *= np.exp(rng.normal(0, rng.uniform(0.02, 0.3), (len(starts), 1)))
        level[rng.random(len(starts)) < rng.choice((0.0, 0.05, 0.15))] = 0.0
        level[:, -1] = 0.0  # drums have no changes of pitch
        found.append((_drawn(starts + rng.normal(0, 0.006, len(starts)), level, rng), bpm))
    return found


def _drawn(starts: np.ndarray, level: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Features of a window with onsets at `starts` (seconds) of so much strength in each column."""
    onset = np.abs(rng.normal(0, 0.002, (int(tempo.WINDOW_S * FRAME_RATE), _COLUMNS))).astype(np.float32)
    inside = (starts > 0) & (starts < tempo.WINDOW_S - 0.1)
    place = (starts[inside] * FRAME_RATE).astype(int)
    shape = rng.uniform(0.2, 1.0, (3, _COLUMNS))  # how an onset's three frames rise and fall in each range
    for frame in range(3):
        np.add.at(onset, place + frame, level[inside] * shape[frame])
    return tempo.levels(tempo._pulses(onset)[:, None], _GRID)[0]


def learn(features: np.ndarray, bpm: np.ndarray, plain: np.ndarray, kind: str) -> tuple[np.ndarray, float]:
    """Weights, shape (features, combs), and score of no metre under which the truth (NaN: none) is likeliest.

    `plain` marks the windows whose tempo is known only modulo octave.
    """
    combs, penalty = KINDS[kind]
    x = torch.from_numpy(features)
    free = np.isnan(bpm)
    octaves = np.log2(_GRID / np.where(free, 1.0, bpm)[:, None])
    octaves -= np.where(plain[:, None], np.round(octaves), 0.0)  # of a metronome any octave is right
    target = np.where(free[:, None], 0.0, np.exp(-0.5 * (octaves / _WIDTH_OCTAVES) ** 2))
    target /= np.maximum(target.sum(axis=1, keepdims=True), 1e-12)
    target = torch.from_numpy(np.column_stack([target, free])).float()
    prior = torch.from_numpy(tempo.log_prior(_GRID, _SETTINGS)).float()
    ranges = x.shape[2] // len(tempo.RATIOS)
    begun = np.array([[start.get(float(ratio), 0.0) for ratio in tempo.RATIOS] * ranges for start in STARTS[:combs]])
    weights = torch.from_numpy(begun.T.copy()).float().requires_grad_()
    unmetred = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([weights, unmetred], max_iter=_ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        score = torch.logsumexp(x @ weights, dim=2) + prior
        score = torch.cat([score, unmetred.expand(len(score), 1)], dim=1)
        value = -(target * torch.log_softmax(score, dim=1)).sum(dim=1).mean() + penalty * (weights**2).sum()
        value.backward()
        return value

    optimiser.step(loss)
    return weights.detach().numpy(), float(unmetred.detach())


def calibrate(solos: Sequence[Known], onsets: Sequence[np.ndarray], combs: tempo.Combs) -> tuple[float, float]:
    """Offset and factor of the log-odds of a tempo's probability."""
    odds, right = [], []
    for one, onset in zip(solos, onsets, strict=True):
        bpm, probability = tempo.follow(onset, _SETTINGS, combs)
        along = tempo.log_odds(probability.sum(axis=0))
        for start_s, true_bpm in one.slices(len(onset) / FRAME_RATE):
            row = round(start_s + CLIP_SECONDS / 2)
            odds.append([along[row]])
            right.append(true_bpm is not None and right_tempo(bpm[row], true_bpm, OCTAVES))
    model = LogisticRegression(C=1e6).fit(np.array(odds), np.array(right))
    return float(model.intercept_[0]), float(model.coef_[0, 0])


def write(kind: str, combs: tempo.Combs) -> None:
    """Put the combs of a kind into combs.json: a line a ratio, with the weights of each comb."""
    # `tempo.levels` has ratios within ranges.
    table = combs.weights.reshape(-1, len(tempo.RATIOS), combs.weights.shape[1]).transpose(1, 2, 0).astype(float)
    names = [str(Fraction(float(ratio)).limit_denominator(8)) for ratio in tempo.RATIOS]
    weights = dict(zip(names, table.round(2).tolist(), strict=True))
    calibration = [round(value, 2) for value in combs.calibration]
    content = json.loads(FILE.read_text(encoding="utf-8"))
    content[kind] = {"unmetred": combs.unmetred, "calibration": calibration, "weights": weights}
    text = json.dumps(content, indent=2)
    for lists in (r"\[[^][]*\]", r"\[\s*\[[^{}]*?\]\s*\](?=[,\s]*[\"}])"):
        text = re.sub(lists, lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text)
    FILE.write_text(text + "\n", encoding="utf-8")


def solos(kind: str) -> list[Known]:
    """What a kind is fitted to."""
    orchestra = [one for seed in SEEDS for one in known.of_orchestra(seed, 3)]
    if kind == "any":
        return orchestra
    some = [one for one in orchestra if tempo.combs_of(one.instrument) is tempo.COMBS[kind]]
    drummers = [one for seed in DRUM_SEEDS for one in known.of_drummers(seed, 4, random=True)]
    return some + drummers if kind == "drums" else some


def main() -> None:
    """Fit, and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", choices=(*KINDS, []), default=[], help="default: all")
    for kind in parser.parse_args().kinds or KINDS:
        some = solos(kind)
        fit(kind, some, list(parallel.map_jobs(onset_of, some, what="analysing")))


def fit(kind: str, solos: Sequence[Known], onsets: Sequence[np.ndarray]) -> None:
    """Fit combs and calibration to solos and their onset strength, and write them."""
    rng = np.random.default_rng(1)
    some = [example for one, onset in zip(solos, onsets, strict=True) for example in examples(one, onset, rng)]
    some += cycles(DRAWN if kind == "drums" else 0, rng)
    plain = simple(SIMPLE, rng)
    truth = np.array([np.nan if bpm is None else bpm for _, bpm in some + plain])
    features = np.stack([features for features, _ in some + plain])
    weights, unmetred = learn(features, truth, np.arange(len(truth)) >= len(some), kind)
    combs = tempo.Combs(np.round(weights, 2), round(unmetred, 2), (0.0, 1.0))
    write(kind, combs._replace(calibration=calibrate(solos[::2], onsets[::2], combs)))


if __name__ == "__main__":
    main()
