"""One picture of a recording's annotation: onsets with beats, tempo with its confidence, pitch against the scale."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from tarkib.annotation import onset, pitch, tonality
from tarkib.annotation.conclusion import Conclusion
from tarkib.annotation.evidence import Evidence
from tarkib.annotation.labels import Labels
from tarkib.params import Annotate
from tarkib.runtime import plotting
from tarkib.runtime.text import note_name
from tarkib.vocabulary import SCALES

_POINTS = 3_000  # as many as a screen shows; a longer recording's onsets are drawn by the highest of each stretch
_MOST_BEATS = 400
_BLUE, _ROSE, _GREEN, _GREY = "#332288", "#CC6677", "#117733", "#666666"


def draw(heard: Evidence, conclusion: Conclusion, labels: Labels, params: Annotate, title: str, path: Path) -> None:
    """Draw a recording's annotation into a PNG file of 1500 by 1125 pixels; equal annotations give equal bytes."""
    with plotting.picture(path, 12, 9) as picture:
        onsets, tempi, pitches = picture.subplots(3, 1)
        tempi.sharex(onsets)
        _draw_onsets(onsets, heard, conclusion.beats_s)
        _draw_tempo(tempi, heard, conclusion, labels, params)
        _draw_pitch(pitches, heard, conclusion.tonality)
        # File names are the user's: a dollar sign in one is not the beginning of a formula.
        picture.suptitle(title, fontsize=12, parse_math=False)


def _draw_onsets(axes: Axes, heard: Evidence, beats_s: np.ndarray) -> None:
    strength = heard.onset if heard.onset.ndim == 1 else heard.onset.sum(axis=1)
    stretch = max(1, -(-len(strength) // _POINTS))
    padded = np.pad(strength, (0, -len(strength) % stretch))
    highest = padded.reshape(-1, stretch).max(axis=1)
    axes.plot(np.arange(len(highest)) * stretch / onset.FRAME_RATE, highest, color=_BLUE, linewidth=0.8)
    title = "Onset strength"
    if 0 < len(beats_s) <= _MOST_BEATS:
        axes.vlines(beats_s, 0.0, 1.0, transform=axes.get_xaxis_transform(), color=_ROSE, linewidth=0.7, alpha=0.8)
        title += f", and {len(beats_s)} beats where the tempo is trusted"
    elif len(beats_s):
        title += f" ({len(beats_s)} beats, too many to draw)"
    else:
        title += "; no beats: nowhere is the tempo trusted"
    axes.set(title=title, ylabel="strength", ylim=(0, None))
    plotting.time_axis(axes, max(heard.seconds, 0.1))
    axes.spines[["top", "right"]].set_visible(False)


def _draw_tempo(axes: Axes, heard: Evidence, conclusion: Conclusion, labels: Labels, params: Annotate) -> None:
    tempo = conclusion.tempo
    seconds = np.arange(len(tempo.bpm))
    trusted = tempo.confidence >= params.min_confidence
    axes.plot(seconds[trusted], tempo.bpm[trusted], ".", color=_BLUE, markersize=4, label="tempo")
    axes.plot(seconds[~trusted], tempo.bpm[~trusted], ".", color="#BBBBBB", markersize=2.5, label="not trusted")
    also = [(second, other) for second in seconds[trusted] for other in tempo.octaves(float(second))]
    if also:
        axes.plot(*zip(*also, strict=True), ".", color="#88CCEE", markersize=2.5, label="half or double fits too")
    if labels.bpm is not None:
        axes.axhline(labels.bpm, color=_ROSE, linewidth=1, linestyle="--", label=f"label, {labels.bpm:g} BPM")
    axes.set(
        yscale="log",
        ylim=(params.min_bpm / 1.1, params.max_bpm * 1.1),
        ylabel="beats per minute",
        xlabel="minutes:seconds",
        title="Tempo, and the probability that it is right (modulo octave)",
    )
    ticks = [
        one for one in (30, 40, 50, 60, 80, 100, 120, 150, 200, 300) if axes.get_ylim()[0] < one < axes.get_ylim()[1]
    ]
    axes.set_yticks(ticks, [str(one) for one in ticks])
    axes.minorticks_off()
    probability = axes.twinx()
    probability.fill_between(seconds, tempo.confidence, color=_GREEN, alpha=0.15, linewidth=0)
    probability.axhline(params.min_confidence, color=_GREEN, linewidth=0.6, linestyle=":")
    probability.set(ylim=(0, 1), ylabel="confidence (green)")
    axes.set_zorder(probability.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.legend(loc="upper left", fontsize=8, ncols=4, framealpha=0.9)
    for one in (axes, probability):
        one.spines["top"].set_visible(False)


def _draw_pitch(axes: Axes, heard: Evidence, tonal: tonality.Tonality) -> None:
    """The profile, turned so that the tonic is on the left, with the template of the winning scale over it."""
    axes.set(xlabel="cents above the tonic", ylabel="share of what is held", xlim=(-50, 1150))
    axes.spines[["top", "right"]].set_visible(False)
    if tonal.tonic_hz is None or tonal.dastgah is None:
        axes.set(title="Pitch: no scale is heard", yticks=[], xticks=[], xlabel="")
        return
    profile, template = tonality.winning(heard.pitch, tonal)
    cents = np.arange(-5, pitch.BINS - 5) * 1200.0 / pitch.BINS
    turned = [np.roll(one, 5) for one in (profile, template)]
    axes.bar(cents, turned[0], width=9.0, color="#88CCEE", label="heard")
    axes.plot(cents, turned[1], color=_ROSE, linewidth=1.3, label=f"template of {tonal.dastgah}")
    axes.set_xticks(SCALES[tonal.dastgah])
    family = f", family {tonal.family} {tonal.family_confidence:.2f}" if tonal.family else ""
    axes.set_title(
        f"Pitch: {tonal.dastgah} {tonal.dastgah_confidence:.2f}{family}, "
        f"tonic {tonal.tonic_hz:.1f} Hz ({note_name(tonal.tonic_hz)}) {tonal.tonic_confidence:.2f}"
    )
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper right", fontsize=8, framealpha=0.9)
