"""Tonbak and daf: modes of a skin that sag in pitch, fingers, and the rings inside a daf's frame."""

import numpy as np

from tarkib.demo.rhythm import Hit
from tarkib.demo.synthesis import BODY_HZ, SAMPLE_RATE, convolve, minimum_phase, resonances, ring, ripple, to_gain

# Frequencies of an ideal membrane's modes over its lowest (zeros of Bessel functions; Fletcher & Rossing, ch. 3).
_MODES = np.array([1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501, 3.6, 3.652, 4.06, 4.154, 4.601, 4.903, 5.131])


class Drum:
    """A tonbak or daf in someone's hands."""

    def __init__(self, rng: np.random.Generator, instrument: str) -> None:
        tonbak = instrument == "tonbak"
        centres = np.exp(rng.uniform(np.log(150), np.log(3500), 7))
        body = 0.7 + resonances(BODY_HZ, centres, centres * rng.uniform(0.1, 0.35, 7), to_gain(rng.uniform(-3, 9, 7)))
        self.low_hz = rng.uniform(75, 125) if tonbak else rng.uniform(62, 105)  # lowest mode; a tonbak's moves its air
        self.rim_hz = rng.uniform(300, 520) if tonbak else rng.uniform(190, 330)  # the lowest that the rim moves
        self.low_t60 = rng.uniform(0.3, 0.7) if tonbak else rng.uniform(0.35, 0.85)  # seconds
        self.rim_t60 = rng.uniform(0.08, 0.2) if tonbak else rng.uniform(0.15, 0.4)
        self.sag = rng.uniform(0.02, 0.12)  # share by which a strong stroke raises the pitch at first
        self.finger = rng.uniform(0.2, 0.6)  # loudness of the finger's own noise
        self.bright_hz = rng.uniform(2000, 6000)  # corner of that noise
        self.body = minimum_phase(body * ripple(rng, 2.5))
        self.rings = 0.0 if tonbak else rng.uniform(0.2, 0.6)  # their loudness
        self.ring_t60 = rng.uniform(0.15, 0.5)  # seconds for which they rattle
        self.metal = _metal(rng)
        self.busy = rng.uniform(0.1, 1.0)  # how many strokes this player adds

    def play(self, rng: np.random.Generator, hits: list[Hit], n: int) -> np.ndarray:
        """The hits as sound, shape (n,)."""
        skin, fingers = np.zeros(n), np.zeros(n)
        for hit in hits:
            start = int(hit.start * SAMPLE_RATE)
            if start >= n:
                continue
            self._strike(rng, skin, start, hit)
            length = min(int(rng.uniform(0.004, 0.014) * SAMPLE_RATE), n - start)
            share = {"T": 0.5, "t": 0.4, "b": 1.2, "p": 0.8}[hit.kind]
            burst = rng.standard_normal(length) * np.linspace(1, 0, length) ** 3
            # A running mean darkens the finger's noise towards the corner that this player's fingers have.
            width = max(1, round(SAMPLE_RATE / 2 / self.bright_hz))
            burst = np.convolve(burst, np.ones(width) / width, mode="same") if length > width else burst
            fingers[start : start + length] += self.finger * share * hit.level * burst
        sound = convolve(skin + fingers, self.body)
        return sound + self._rattle(rng, hits, n) if self.rings > 0 else sound

    def _strike(self, rng: np.random.Generator, out: np.ndarray, start: int, hit: Hit) -> None:
        """The membrane: the centre moves the low modes, the rim the high ones, a soft finger a little of both."""
        low = self.low_hz * np.array([1.0, *_MODES[1:6] * rng.uniform(0.97, 1.03)])
        high = self.rim_hz * _MODES * np.exp(rng.normal(0, 0.008, len(_MODES)))
        balance = {"T": (1.0, 0.16), "t": (0.6, 0.35), "b": (0.08, 0.8), "p": (0.15, 0.6)}[hit.kind]
        low_gains = np.array([1.0, 0.4, 0.3, 0.2, 0.15, 0.1]) * balance[0]
        high_gains = balance[1] * 0.5 / (1 + (high / (self.bright_hz * (0.3 + 0.7 * hit.level))) ** 2)
        high_gains = high_gains * np.exp(rng.normal(0, 0.35, len(high)))
        t60 = np.concatenate([self.low_t60 * (low[0] / low) ** 0.8, self.rim_t60 * (high[0] / high) ** 0.7])
        partials = np.concatenate([low, high]) * (1 + 0.3 * self.sag * hit.level)
        gains = hit.level * np.concatenate([low_gains, high_gains]) * np.exp(rng.normal(0, 0.1, len(partials)))
        ring(out, start, partials, t60, gains, np.zeros(len(partials)), int(1.2 * SAMPLE_RATE))
        if hit.kind in "Tt":
            # The first milliseconds are sharper than what rings on: the skin is stretched by the blow.
            sharp, gains = low[:2] * (1 + 3 * self.sag), 0.5 * hit.level * low_gains[:2]
            ring(out, start, sharp, np.array([0.06, 0.04]), gains, np.zeros(2), SAMPLE_RATE // 8)

    def _rattle(self, rng: np.random.Generator, hits: list[Hit], n: int) -> np.ndarray:
        """The rings: after every stroke links fall back on the frame at random, fewer and fewer."""
        stirred = np.zeros(n)
        length = int(self.ring_t60 * 1.2 * SAMPLE_RATE)
        decay = np.exp(-np.log(1000) * np.arange(length) / self.ring_t60 / SAMPLE_RATE)
        decay *= np.minimum(1, np.arange(length) / (0.006 * SAMPLE_RATE))
        for hit in hits:
            start = int((hit.start + rng.uniform(0.0, 0.006)) * SAMPLE_RATE)
            end = min(n, start + length)
            if start < end:
                stirred[start:end] += hit.level**1.3 * decay[: end - start]
        links = rng.random(n) < np.minimum(0.2, 0.08 * stirred)
        falls = np.where(links, rng.standard_normal(n), 0.0) * np.sqrt(stirred)
        return self.rings * 2 * convolve(falls, self.metal)


def _metal(rng: np.random.Generator) -> np.ndarray:
    """The sound of one link on another: many high, short modes, shape (1200,)."""
    time = np.arange(1200) / SAMPLE_RATE
    hz = np.exp(rng.uniform(np.log(rng.uniform(2500, 4000)), np.log(11_500), 24))
    t60 = rng.uniform(0.01, 0.06, 24)
    waves = np.sin(2 * np.pi * hz[:, None] * time + rng.uniform(0, 6.28, (24, 1))) * 10 ** (-3 * time / t60[:, None])
    wave = (waves * rng.uniform(0.3, 1, (24, 1))).sum(axis=0)
    return wave / np.linalg.norm(wave)
