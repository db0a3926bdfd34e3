"""Performers: an instrument in someone's hands, whatever the instrument; they play tunes."""

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from tarkib.audio import SAMPLE_RATE
from tarkib.demo import blown, bowed, drums, plucked, struck, voice
from tarkib.demo.melody import Tune
from tarkib.demo.part import Stroke, arrange
from tarkib.demo.rhythm import Hit, drumming
from tarkib.vocabulary import PERCUSSION

_MODULES: dict[str, ModuleType] = {
    "ney": blown,
    "tar": plucked,
    "santur": struck,
    "kamancheh": bowed,
    "daf": drums,
    "tonbak": drums,
    "piano": struck,
    "violin": bowed,
    "setar": plucked,
    "avaz": voice,
}


@dataclass(frozen=True)
class Performer:
    """`player` is the instrument module's own draw of physical parameters; `low_hz` and `high_hz` bound its notes."""

    instrument: str
    low_hz: float
    high_hz: float
    player: Any

    def nearest_tonic(self, hz: float) -> float:
        """The tonic nearest to `hz` that this instrument can have: any, but on a piano only one of its keys."""
        if self.instrument != "piano":
            return hz
        keys = np.round(12 * np.log2(hz / self.player.reference_hz))
        return float(self.player.reference_hz * 2 ** (keys / 12))

    def draw_tonic(self, rng: np.random.Generator) -> float:
        """A tonic in Hz, on no common grid, upon which a tune lies well."""
        low, high = 1.3 * self.low_hz, min(520.0, self.high_hz / 2.3)
        return self.nearest_tonic(float(np.exp(rng.uniform(np.log(low), np.log(max(high, 1.15 * low))))))


def draw_performer(rng: np.random.Generator, instrument: str) -> Performer:
    """A performer of `instrument`, one of `tarkib.vocabulary.INSTRUMENTS`."""
    module = _MODULES[instrument]
    player = module.draw_player(rng, instrument)
    if instrument in PERCUSSION:
        low, high = 0.0, 0.0
    elif instrument == "avaz":
        low, high = player.low_hz, player.high_hz
    else:
        low, high = module.RANGES[instrument]
    return Performer(instrument, low, high, player)


def perform(
    rng: np.random.Generator,
    performer: Performer,
    tune: Tune,
    spans: Sequence[tuple[float, float]] | None = None,
    late: float = 0.0,
) -> np.ndarray:
    """The performer's version of `tune` as dry sound of any level, float64, shape (tune.seconds * SAMPLE_RATE,).

    With `spans` (seconds from, to) only what begins inside one of them is played; `late` is in seconds.
    """
    n = round(tune.seconds * SAMPLE_RATE)
    sounds: Sequence[Hit | Stroke]
    if performer.instrument in PERCUSSION:
        assert tune.metre is not None  # drummers play metred tunes only
        sounds = drumming(rng, tune.metre, tune.pulses + late, tune.seconds, performer.player.busy)
    else:
        sounds = arrange(rng, tune, performer.instrument, performer.low_hz, performer.high_hz, late)
    if spans is not None:
        sounds = [sound for sound in sounds if any(a <= sound.start < b for a, b in spans)]
    return _MODULES[performer.instrument].play(rng, performer.player, sounds, n)
