"""Picture of a recording's annotation: onsets with beats, tempo with its confidence, pitch against the scale."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from tarkib.annotation import onset, tonality
from tarkib.annotation.conclusion import Conclusion, Labels
from tarkib.annotation.evidence import Evidence
from tarkib.annotation.modulation import Part
from tarkib.annotation.pitch import BIN_CENTS, BINS
from tarkib.params import Annotate
from tarkib.runtime import plotting
from tarkib.runtime.text import clock, counted, note_name
from tarkib.vocabulary import SCALES

_MAX_BEATS = 400  # more are not drawn
_BLUE, _LIGHT, _ROSE, _GREEN, _GREY = "#332288", "#88CCEE", "#CC6677", "#117733", "#BBBBBB"
_TICKS_BPM = (30, 40, 50, 60, 80, 100, 120, 150, 200, 300)


def draw(evidence: Evidence, conclusion: Conclusion, labels: Labels, params: Annotate, title: str, path: Path) -> None:
    """Draw a recording's annotation into a PNG file of 1500 by 1125 pixels; equal annotations give equal bytes."""
    with plotting.picture(path, 12, 9) as picture:
        onsets, tempi, pitches = picture.subplots(3, 1)
        tempi.sharex(onsets)
        _draw_onsets(onsets, evidence, conclusion.beats_s)
        _draw_tempo(tempi, conclusion, labels.bpm, params)
        part = max(conclusion.parts, key=lambda part: part.end_s - part.start_s)
        _draw_pitch(pitches, evidence, part)
        if len(conclusion.parts) > 1:
            _draw_parts(onsets, conclusion.parts)
        for axes in picture.axes:
            axes.spines["top"].set_visible(False)
        # A dollar sign in a file name does not begin a formula.
        picture.suptitle(title, fontsize=12, parse_math=False)


def _draw_onsets(axes: Axes, evidence: Evidence, beats_s: np.ndarray) -> None:
    strength = evidence.onset.sum(axis=1)
    axes.plot(np.arange(len(strength)) / onset.FRAME_RATE, strength, color=_BLUE, linewidth=0.8)
    if len(beats_s) <= _MAX_BEATS:
        axes.vlines(beats_s, 0.0, 1.0, transform=axes.get_xaxis_transform(), color=_ROSE, linewidth=0.7, alpha=0.8)
    omitted = "" if len(beats_s) <= _MAX_BEATS else ", too many to draw"
    title = f"Onset strength, and {counted(len(beats_s), 'beat')} where the tempo is trusted{omitted}"
    axes.set(title=title, ylabel="strength", ylim=(0, None))
    plotting.time_axis(axes, max(evidence.seconds, 0.1))


def _draw_parts(axes: Axes, parts: Sequence[Part]) -> None:
    """The mode of every part of the recording, above its onsets."""
    for part in parts:
        axes.axvline(part.start_s, color=_GREEN, linewidth=1.5)
        mode = f" {part.tonality.dastgah} {part.tonality.dastgah_confidence:.2f}" if part.tonality.dastgah else " none"
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        text = axes.text(part.start_s, 0.97, mode, transform=axes.get_xaxis_transform(), va="top", bbox=box)
        text.set(color=_GREEN, fontsize=9)


def _draw_tempo(axes: Axes, conclusion: Conclusion, label_bpm: float | None, params: Annotate) -> None:
    tempo = conclusion.tempo
    seconds = np.arange(len(tempo.bpm))
    trusted = tempo.confidence >= params.min_confidence
    axes.plot(seconds[trusted], tempo.bpm[trusted], ".", color=_BLUE, markersize=4, label="tempo")
    axes.plot(seconds[~trusted], tempo.bpm[~trusted], ".", color=_GREY, markersize=2.5, label="not trusted")
    for factor, fits in ((0.5, trusted & tempo.half_fits), (2.0, trusted & tempo.double_fits)):
        axes.plot(
            seconds[fits], factor * tempo.bpm[fits], ".", color=_LIGHT, markersize=2.5, label=f"{factor:g} × fits"
        )
    if label_bpm is not None:
        axes.axhline(label_bpm, color=_ROSE, linewidth=1, linestyle="--", label=f"label, {label_bpm:g} BPM")
    low, high = params.min_bpm / 1.1, params.max_bpm * 1.1
    axes.set(yscale="log", ylim=(low, high), ylabel="beats per minute", xlabel="minutes:seconds")
    axes.set(title="Tempo, and the probability that it is right (modulo octave)")
    ticks = [bpm for bpm in _TICKS_BPM if low < bpm < high]
    axes.set_yticks(ticks, list(map(str, ticks)))
    axes.minorticks_off()
    probability = axes.twinx()
    probability.fill_between(seconds, tempo.confidence, color=_GREEN, alpha=0.15, linewidth=0)
    probability.axhline(params.min_confidence, color=_GREEN, linewidth=0.6, linestyle=":")
    probability.set(ylim=(0, 1), ylabel="confidence (green)")
    axes.set_zorder(probability.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.legend(loc="upper left", fontsize=8, ncols=5, framealpha=0.9)


def _draw_pitch(axes: Axes, evidence: Evidence, part: Part) -> None:
    """The part's profile, turned so that the tonic is on the left, with the template of the winning scale over it."""
    tonal, pitch = part.tonality, evidence.pitch.between(part.start_s, part.end_s)
    if tonal.tonic_hz is None or tonal.dastgah is None:
        axes.set(title="Pitch: no scale", yticks=[], xticks=[])
        return
    curves = tonality.profile_and_template(pitch, tonal.dastgah, tonal.tonic_hz)
    cents = np.arange(-5, BINS - 5) * BIN_CENTS
    profile, template = (np.roll(curve, 5) for curve in curves)
    axes.bar(cents, profile, width=9.0, color=_LIGHT, label="recording")
    axes.plot(cents, template, color=_ROSE, linewidth=1.3, label=f"template of {tonal.dastgah}")
    axes.set(xlabel="cents above the tonic", ylabel="share of held notes", xlim=(-50, 1150), ylim=(0, None))
    axes.set_xticks(SCALES[tonal.dastgah])
    family = f", family {tonal.family} {tonal.family_confidence:.2f}" if tonal.family else ""
    tonic = f"tonic {tonal.tonic_hz:.1f} Hz ({note_name(tonal.tonic_hz)}) {tonal.tonic_confidence:.2f}"
    span = f"{clock(part.start_s)} to {clock(part.end_s)}"
    axes.set_title(f"Pitch, {span}: {tonal.dastgah} {tonal.dastgah_confidence:.2f}{family}, {tonic}")
    axes.legend(loc="upper right", fontsize=8, framealpha=0.9)
