"""Metres of the demo's tunes: their pulses, the rhythms of melodies, and the drums' patterns."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Metre:
    """A bar of equal pulses."""

    name: str  # as musicians write it
    share: float  # of the tunes
    per_beat: int  # pulses in one beat of the tempo in BPM
    accents: tuple[float, ...]  # strength of each pulse, 0 to 1
    melody: str  # rhythms of a melody's bar, durations in pulses
    drums: str  # patterns of a drum's bar, a letter a pulse: T tom (centre), t light tom, b bak (rim), p finger, r roll

    @property
    def pulses(self) -> int:
        return len(self.accents)


METRES = {
    metre.name: metre
    for metre in (
        Metre(
            "6/8",
            0.4,
            3,
            (1.0, 0.35, 0.5, 0.8, 0.35, 0.5),
            "2121 111111 321 21111 11121 3111 33",
            "T.bTb. T.bTbb TbbTbb TpbTpb Tpptbb T.btb. TrbTrb",
        ),
        Metre(
            "4/4",
            0.22,
            2,
            (1.0, 0.4, 0.65, 0.4, 0.8, 0.4, 0.65, 0.4),
            "2222 112112 21122 422 3122 1111112 224",
            "T.b.T.b. TpbpT.b. T.bbT.bp TpbpTpbp T.b.ttb. TpbrT.bb",
        ),
        Metre(
            "2/4",
            0.28,
            4,
            (1.0, 0.3, 0.5, 0.3, 0.8, 0.3, 0.5, 0.3),
            "44 2222 422 211211 22211 4211 111122",
            "T.p.b.p. Tpppbppp T.ppb.pp T.p.b.bb T.b.Tpb. T.rrb.p.",
        ),
        Metre(
            "7/8",
            0.1,
            2,
            (1.0, 0.35, 0.5, 0.8, 0.35, 0.75, 0.35),
            "322 2122 11122 211111 3112 21112",
            "T.bT.b. TpbTpbp T.bbpb. TpptbTb TbbTbTb",
        ),
    )
}


def draw_metre(rng: np.random.Generator, bpm: float) -> Metre:
    """A metre that can be played at `bpm`: 2/4 is counted in sixteenths and left to tempi below 125."""
    metres = [metre for metre in METRES.values() if metre.name != "2/4" or bpm < 125]
    shares = np.array([metre.share for metre in metres])
    return metres[rng.choice(len(metres), p=shares / shares.sum())]


def draw_tempo(rng: np.random.Generator) -> float:
    """Beats a minute, log-uniform from 60 to 170."""
    return float(np.exp(rng.uniform(np.log(60), np.log(170))))


def pulse_times(rng: np.random.Generator, metre: Metre, bpm: float, start: float, end: float) -> np.ndarray:
    """Seconds of the pulses from `start` until after `end`, whole bars, shape (bars * pulses + 1,).

    The tempo varies by about half a percent around `bpm`, as it does without a metronome.
    """
    length = 60 / bpm / metre.per_beat
    bars = max(1, int(np.ceil((end - start) / (length * metre.pulses))))
    count = bars * metre.pulses
    breath = np.interp(np.arange(count) / metre.pulses, np.arange(bars + 2), rng.normal(0, 0.006, bars + 2))
    breath -= breath.mean()
    return start + np.append(0.0, np.cumsum(length * (1 + breath)))


@dataclass(frozen=True)
class Hit:
    """A stroke on a drum: seconds, a letter of `Metre.drums` (T, t, b or p), loudness 0 to 1."""

    start: float
    kind: str
    level: float


def drumming(rng: np.random.Generator, metre: Metre, pulses: np.ndarray, seconds: float, busy: float) -> list[Hit]:
    """A drummer's part on `pulses` until `seconds`: two patterns in turn, varied bar by bar, with rolls and fills.

    `busy` (0 to 1) sets the probability of rolls and of strokes on empty pulses.
    """
    known = metre.drums.split()
    patterns = [known[i] for i in rng.choice(len(known), size=2, replace=False)]
    hits: list[Hit] = []
    for bar in range((len(pulses) - 1) // metre.pulses):
        letters = list(patterns[(bar // 4) % 2])
        for i in range(1, metre.pulses):
            if rng.random() < 0.3 * busy:
                letters[i] = {".": "p", "p": "r", "b": "r", "r": "r", "t": "T", "T": "T"}[letters[i]]
            elif rng.random() < 0.08:
                letters[i] = "." if metre.accents[i] < 0.5 else letters[i]
        if bar % 4 == 3 and rng.random() < 0.3 + 0.5 * busy:
            letters[-2:] = ["r", "r"]
        for i, letter in enumerate(letters):
            at = bar * metre.pulses + i
            hits += _struck(rng, letter, pulses[at], pulses[at + 1], metre.accents[i])
    return [hit for hit in hits if 0 <= hit.start < seconds - 0.05]


def _struck(rng: np.random.Generator, letter: str, start: float, end: float, accent: float) -> list[Hit]:
    if letter == ".":
        return []
    base = {"T": 0.75, "t": 0.5, "b": 0.6, "p": 0.28, "r": 0.34}[letter]
    count = max(2, round((end - start) * rng.uniform(16, 20))) if letter == "r" else 1
    starts = start + (end - start) * np.arange(count) / count + rng.normal(0, 0.004, count)
    levels = base * (0.65 + 0.4 * accent) * np.exp(rng.normal(0, 0.12, count))
    kind = "p" if letter == "r" else letter
    return [Hit(float(s), kind, float(min(1.0, v))) for s, v in zip(starts, levels, strict=True)]
