"""A recognition as a part of the page: a player, a timeline of ten instruments with a playhead, a table of segments.

The curves are one SVG picture, as wide as the recording is long and a unit high for each instrument, stretched over the
page; `timeline.js` moves the playhead and seeks.
"""

import numpy as np

from tarkib.app.markup import escaped, name
from tarkib.recognition import Recognition
from tarkib.runtime.text import clock

_COLUMNS = 1_200  # more than can be seen; of a longer recording each shows the most that it holds
_ROW = 0.84  # height of a row, of which probability 1 fills all
_TICKS_AT_MOST = 9
_TICKS_S = (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200)


def section(found: Recognition, title: str, source: str) -> str:
    """What was heard, as HTML.

    Parameters
    ----------
    found : of one recording.
    title : what the reader calls it; any text.
    source : address of its sound.
    """
    return (
        f'<section class="tarkib-heard" data-seconds="{found.seconds:.3f}" aria-label="{escaped(title)}">'
        f'<h2 dir="auto">{escaped(title)}</h2><p class="soft">{_summary(found)}</p>'
        f'<audio controls preload="metadata" src="{escaped(source)}" aria-label="Player of {escaped(title)}"></audio>'
        f"{_timeline(found)}{_table(found)}</section>"
    )


def _summary(found: Recognition) -> str:
    playing = sorted({one.instrument for one in found.segments}, key=found.labels.index)
    if found.silent.all():
        said = "silence"
    elif playing:
        said = f"{len(playing)} of {int(found.trained.sum())} instruments reach their threshold"
    else:
        said = "no instrument reaches its threshold"
    return f"{clock(found.seconds)} heard: {said}" + (f" ({found.remark})" if found.remark else "")


def _timeline(found: Recognition) -> str:
    names = "".join(_row_name(found, k) for k in range(len(found.labels)))
    marks = "".join(
        f'<li style="left:{100 * at / found.seconds:.3f}%"{" class=late" if at > 0.93 * found.seconds else ""}>'
        f"{clock(at)}</li>"
        for at in ticks(found.seconds)
    )
    unknown = "" if found.trained.all() else "A grey band: never trained on, so not looked for. "
    return (
        f'<div class="timeline"><ol class="names">{names}</ol>'
        '<div class="seek" role="slider" tabindex="0" aria-label="Position in the recording" aria-valuemin="0" '
        f'aria-valuemax="{found.seconds:.2f}" aria-valuenow="0" aria-valuetext="0:00 of {clock(found.seconds)}">'
        f'{_picture(found)}<span class="playhead"></span></div>'
        f'<ol class="clock" aria-hidden="true">{marks}</ol></div>'
        '<p class="soft key">Height is the probability that an instrument plays; <b>strong</b> where it is at or above '
        f"the instrument’s threshold, the dotted line. {unknown}Click to hear from there; with the keyboard: arrows "
        "move, Home and End jump, space plays and stops.</p>"
    )


def _row_name(found: Recognition, k: int) -> str:
    """The name of a row; `data-plays` holds when it plays, for the script."""
    label = found.labels[k]
    spans = [f"{one.start_s:.3f}-{one.end_s:.3f}" for one in found.segments if one.instrument == label]
    kind = "plays" if spans else "absent"
    return f'<li class="{kind}" data-plays="{" ".join(spans)}">{name(label)}</li>'


def ticks(seconds: float) -> list[float]:
    """Round times for the axis of a recording, at most nine.

    >>> ticks(95.0)
    [0, 15, 30, 45, 60, 75, 90]
    """
    step = next((one for one in _TICKS_S if seconds / one < _TICKS_AT_MOST), _TICKS_S[-1])
    return [step * k for k in range(int(seconds / step) + 1)]


def _picture(found: Recognition) -> str:
    borders, activity, present = found.thinned(_COLUMNS)
    rows = "".join(
        _row(k, borders, activity[:, k], present[:, k], found.thresholds[k])
        if found.trained[k]
        else f'<rect class="unknown" x="0" y="{k + 1 - _ROW:.2f}" width="{found.seconds:.3f}" height="{_ROW}">'
        "<title>never trained on, so not looked for</title></rect>"
        for k in range(len(found.labels))
    )
    rules = "".join(f'<line class="rule" x1="0" x2="{found.seconds:.3f}" y1="{k}" y2="{k}"/>' for k in range(1, 11))
    return (
        f'<svg viewBox="0 0 {found.seconds:.3f} {len(found.labels)}" preserveAspectRatio="none" role="img" '
        f'aria-label="Probabilities of ten instruments over {clock(found.seconds)}">{rules}{rows}</svg>'
    )


def _row(k: int, borders: np.ndarray, activity: np.ndarray, present: np.ndarray, threshold: float) -> str:
    floor = k + 1
    line = floor - _ROW * threshold
    return (
        _steps("weak", borders, np.where(present, 0.0, activity), floor)
        + _steps("strong", borders, np.where(present, activity, 0.0), floor)
        + f'<line class="threshold" x1="0" x2="{borders[-1]:.3f}" y1="{line:.3f}" y2="{line:.3f}"/>'
    )


def _steps(kind: str, borders: np.ndarray, heights: np.ndarray, floor: int) -> str:
    """A filled curve of steps; columns of height 0 are left out."""
    moves = []
    for start, end, height in zip(borders[:-1], borders[1:], heights, strict=True):
        if height > 0:
            moves.append(f"M{start:.6g} {floor}V{floor - _ROW * height:.6g}H{end:.6g}V{floor}z")
    return f'<path class="{kind}" d="{"".join(moves)}"/>'


def _table(found: Recognition) -> str:
    if not found.segments:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{name(one.instrument)}</th>'
        f'<td><button type="button" class="from" data-at="{one.start_s:.3f}" '
        f'aria-label="Hear {one.instrument} from {clock(one.start_s)}">{clock(one.start_s)}</button></td>'
        f"<td>{clock(one.end_s)}</td><td>{one.probability:.2f}</td></tr>"
        for one in sorted(found.segments, key=lambda one: (one.start_s, found.labels.index(one.instrument)))
    )
    return (
        '<div class="segments" tabindex="0" role="region" aria-label="Segments"><table><thead><tr>'
        '<th scope="col">Instrument</th><th scope="col">From</th><th scope="col">To</th>'
        f'<th scope="col">Probability</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )
