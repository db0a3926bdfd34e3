"""Ensemble pieces: their instruments, one tune, entries and rests of each part, and the labels of each excerpt."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import signal

from tarkib.audio import CLIP_SAMPLES, SAMPLE_RATE
from tarkib.demo.melody import Tune, compose
from tarkib.demo.performer import draw_performer, perform
from tarkib.demo.rhythm import draw_tempo
from tarkib.demo.room import Room
from tarkib.mixing.ensembles import TRADITIONAL
from tarkib.vocabulary import PERCUSSION

EXCERPTS_PER_PIECE = 4

_SIZES = (1, 2, 3, 4, 5)
_SIZE_SHARES = (0.06, 0.22, 0.34, 0.28, 0.10)
_SLOT_SECONDS = 6.5
_FRAME = SAMPLE_RATE // 4

# A part is audible in a quarter of a second if its level is above `_AUDIBLE_DB` relative to the mix at that moment and
# above `_PRESENT_DB` relative to the loudest moment of the piece, both after a high-pass filter. An excerpt is labelled
# with the parts that are audible in it for at least `_AUDIBLE_SECONDS` in all.
_AUDIBLE_DB, _PRESENT_DB = -14.0, -36.0
_AUDIBLE_SECONDS = 1.0


@dataclass(frozen=True)
class Piece:
    """`sound` is the recording, float64, shape (n,); `excerpts` has the first sample and who is audible of each."""

    sound: np.ndarray
    excerpts: tuple[tuple[int, frozenset[str]], ...]


def draw_ensembles(seed: Sequence[int], count: int, instruments: Sequence[str]) -> list[tuple[str, ...]]:
    """Ensembles of 1 to 5 of `instruments` for `count` pieces; each depends on `seed`, its index and those before it.

    Every other piece has one of the traditional ensembles, if these instruments suffice. Instruments that have played
    least so far are preferred.
    """
    played = dict.fromkeys(instruments, 0)
    known = [one for kind in TRADITIONAL for one in kind if len(one) <= _SIZES[-1] and set(one) <= set(instruments)]
    ensembles = []
    for i in range(count):
        rng = np.random.default_rng([*seed, i])
        if known and i % 2:
            spread = [float(np.mean([played[name] for name in ensemble])) + rng.normal(0, 0.7) for ensemble in known]
            ensemble = known[int(np.argmin(spread))]
        else:
            size = min(int(rng.choice(_SIZES, p=_SIZE_SHARES)), len(instruments))
            spread = [played[name] + rng.normal(0, 0.7) for name in instruments]
            ensemble = tuple(instruments[k] for k in np.argsort(spread)[:size])
        for name in ensemble:
            played[name] += 1
        ensembles.append(ensemble)
    return ensembles


def draw_piece(rng: np.random.Generator, instruments: tuple[str, ...], dastgah: str) -> Piece:
    """A piece in `dastgah`, played by a new performer of each of `instruments`, with `EXCERPTS_PER_PIECE` excerpts."""
    seconds = _SLOT_SECONDS * EXCERPTS_PER_PIECE + 1.0
    performers = [draw_performer(rng, instrument) for instrument in instruments]
    tonic = float(np.exp(rng.uniform(np.log(190), np.log(420))))
    for performer in performers:
        tonic = performer.nearest_tonic(tonic)
    drums = any(instrument in PERCUSSION for instrument in instruments)
    bpm = draw_tempo(rng) if drums or rng.random() < 0.6 else None
    opening = rng.uniform(3, 6) if bpm and len(instruments) > 1 and rng.random() < 0.12 else 0.0
    tune = compose(rng, dastgah, tonic, seconds, bpm, opening)
    entries = _entries(rng, tune, instruments)
    parts = []
    for performer, spans in zip(performers, entries, strict=True):
        # In free rhythm the others follow the one who leads by ear.
        late = 0.0 if performer is performers[0] else rng.uniform(0.0, 0.025 if bpm else 0.25)
        part = perform(rng, performer, tune, spans, late)
        parts.append(part * 10 ** (rng.normal(0, 2.0) / 20) / _loudness(part))
    room = Room(rng)
    placed = _place(rng, np.array(parts))
    excerpts = tuple((start, frozenset(itertools.compress(instruments, audible))) for start, audible in placed)
    return Piece(room.record(rng, np.sum(parts, axis=0)), excerpts)


def _entries(rng: np.random.Generator, tune: Tune, instruments: tuple[str, ...]) -> list[list[tuple[float, float]]]:
    """Seconds (from, to) in which each part plays: whole phrases, in each of which someone with a melody does."""
    count = len(tune.phrases)
    drums = np.array([name in PERCUSSION for name in instruments])
    plays = np.zeros((len(instruments), count), dtype=bool)
    for i in range(len(instruments)):
        on = rng.random() < 0.7
        for j in range(count):
            if rng.random() < (0.32 if on else 0.6):
                on = not on
            plays[i, j] = on
        if not plays[i].any():
            plays[i, rng.integers(count)] = True
    melodic = np.flatnonzero(~drums) if not drums.all() else np.arange(len(instruments))
    for j in range(count):
        if not plays[melodic, j].any():
            plays[rng.choice(melodic), j] = True
    starts = [phrase[0].start - 0.05 for phrase in tune.phrases]
    ends = [*starts[1:], tune.seconds]
    return [[(starts[j], ends[j]) for j in range(count) if row[j]] for row in plays]


def _loudness(part: np.ndarray) -> float:
    """RMS of the louder half of a part's frames, so that rests do not lower it."""
    frames = _frames(part)
    return float(np.sqrt(np.mean(np.sort(frames[frames > 0])[-max(1, len(frames) // 2) :]))) if frames.any() else 1.0


def _frames(part: np.ndarray) -> np.ndarray:
    """Power in each quarter of a second after a first-order high-pass: the ear is less sensitive to low frequencies."""
    bright = signal.lfilter([1, -0.95], [1], part)
    whole = len(bright) // _FRAME
    return (bright[: whole * _FRAME].reshape(whole, _FRAME) ** 2).mean(axis=1)


def _place(rng: np.random.Generator, parts: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """First sample of each excerpt and who is audible in it, shape (parts,).

    An excerpt begins at a quarter second of its slot, drawn from those with the fewest parts of unclear label: audible
    for less than twice `_AUDIBLE_SECONDS`.
    """
    powers = np.array([_frames(part) for part in parts])
    mix = _frames(parts.sum(axis=0))
    audible = (powers > mix * 10 ** (_AUDIBLE_DB / 10)) & (powers > mix.max() * 10 ** (_PRESENT_DB / 10))
    per_clip = CLIP_SAMPLES // _FRAME
    choices = int((_SLOT_SECONDS * SAMPLE_RATE - CLIP_SAMPLES) // _FRAME) + 1
    placed = []
    for slot in range(EXCERPTS_PER_PIECE):
        starts = int(slot * _SLOT_SECONDS * SAMPLE_RATE) // _FRAME + np.arange(choices)
        seconds = np.array([audible[:, s : s + per_clip].sum(axis=1) for s in starts]) * _FRAME / SAMPLE_RATE
        silent = (seconds < _AUDIBLE_SECONDS).all(axis=1)
        unclear = ((seconds > 0) & (seconds < 2 * _AUDIBLE_SECONDS)).sum(axis=1) + len(parts) * silent
        choice = int(rng.choice(np.flatnonzero(unclear == unclear.min())))
        placed.append((int(starts[choice]) * _FRAME, seconds[choice] >= _AUDIBLE_SECONDS))
    return placed
