"""Small solos whose tempo, tonic and dastgah are known."""

import numpy as np

from tarkib.annotation import evidence
from tarkib.annotation.evidence import Evidence
from tarkib.annotation.tonality import RADIF_SHARES
from tarkib.audio import SAMPLE_RATE

_BAR = (1.0, 0.0, 0.5, 0.5, 0.8, 0.0, 0.6, 0.0)  # accents of eight half-beats


def timeline(seconds: float) -> np.ndarray:
    """Seconds of every sample."""
    return np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE


def hiss(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    """White noise."""
    return (level * np.random.default_rng(seed).standard_normal(int(seconds * SAMPLE_RATE))).astype(np.float32)


def clicks(bpm: float, seconds: float = 15.0, jitter_s: float = 0.0) -> np.ndarray:
    """A click on every beat, in a little noise."""
    samples = hiss(seconds, 1e-3)
    rng = np.random.default_rng(1)
    for beat in np.arange(0.2, seconds - 0.1, 60.0 / bpm):
        samples[int((beat + rng.normal(0.0, jitter_s)) * SAMPLE_RATE)] += 0.9
    return samples


def tone(hz: float, seconds: float, harmonics: int = 8, vibrato_cents: float = 0.0) -> np.ndarray:
    """A held note with harmonics of falling strength."""
    bend = vibrato_cents * np.sin(2 * np.pi * 5.5 * timeline(seconds))
    phase = 2 * np.pi * np.cumsum(hz * 2 ** (bend / 1200)) / SAMPLE_RATE
    parts = [np.sin(k * phase) / k for k in range(1, harmonics + 1) if k * hz < SAMPLE_RATE / 2]
    return (0.3 * np.sum(parts, axis=0)).astype(np.float32)


def solo(
    dastgah: str, tonic_hz: float, bpm: float | None, seconds: float = 30.0, seed: int = 0, held: bool = False
) -> np.ndarray:
    """A melody that dwells on the degrees as the radif does and rests on the tonic, plucked or (`held`) sung.

    Without `bpm` its rhythm is free: note lengths are log-normal.
    """
    rng = np.random.default_rng(seed)
    samples = hiss(seconds + 2.0, 1e-3, seed)
    place = 0
    starts, accents = _rhythm(rng, bpm, seconds)
    for i, (start, accent) in enumerate(zip(starts, accents, strict=True)):
        length = min((starts[i + 1] if i + 1 < len(starts) else seconds) - start, 2.0)
        place = 0 if i % 16 == 15 else _step(rng, dastgah, place)
        degrees = sorted(RADIF_SHARES[dastgah])
        hz = tonic_hz * 2 ** (place // len(degrees) + degrees[place % len(degrees)] / 1200)
        at = int(start * SAMPLE_RATE)
        if held:
            note = tone(hz, length, vibrato_cents=20.0)
            swell = np.minimum(timeline(length) / 0.06, 1.0)[: len(note)]
            note = accent * note * swell * swell[::-1]
        else:
            note = accent * tone(hz, length + 0.4) * np.exp(-timeline(length + 0.4) / 0.35)
        samples[at : at + len(note)] += note.astype(np.float32)
    return samples[: int(seconds * SAMPLE_RATE)]


def _rhythm(rng: np.random.Generator, bpm: float | None, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    if bpm is None:
        starts = 0.2 + np.cumsum(np.clip(np.exp(rng.normal(np.log(0.4), 0.7, 400)), 0.1, 3.0))
        starts = starts[starts < seconds - 0.5]
        return starts, rng.uniform(0.5, 1.0, len(starts))
    pulses = np.arange(0.2, seconds - 0.5, 30.0 / bpm)
    accents = np.resize(_BAR, len(pulses))
    played = accents > 0
    return pulses[played] + rng.normal(0.0, 0.008, played.sum()), accents[played]


def _step(rng: np.random.Generator, dastgah: str, place: int) -> int:
    shares = np.array([RADIF_SHARES[dastgah][degree] for degree in sorted(RADIF_SHARES[dastgah])], float)
    places = np.arange(-3, len(shares) + 3)
    chances = shares[places % len(shares)] * np.exp(-np.abs(places - place) / 1.5)
    return int(rng.choice(places, p=chances / chances.sum()))


def analysed(samples: np.ndarray) -> Evidence:
    """Evidence of a recording in memory."""
    return evidence.extract([samples])
