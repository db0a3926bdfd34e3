"""The page's small pieces, as HTML text: names in two scripts, numbers, players, spectrograms, bars.

Whatever comes from a file goes through `escaped` before it becomes a part of the page.
"""

import base64
from collections.abc import Iterable
from html import escape

import numpy as np

from tarkib.audio import CLIP_SECONDS
from tarkib.preview import spectrogram
from tarkib.preview.distributions import Distribution
from tarkib.vocabulary import PERSIAN

MINUS, TIMES, ARROW = "−", "×", "→"


def escaped(text: object) -> str:
    """Text that may stand in an element or in a quoted attribute."""
    return escape(str(text), quote=True)


def name(word: str) -> str:
    """A word, and after it the same in Persian script where the vocabulary knows it."""
    persian = PERSIAN.get(word)
    also = "" if persian is None else f' <span lang="fa" dir="rtl">{escaped(persian)}</span>'
    return f'<span class="name"><span class="latin">{escaped(word)}</span>{also}</span>'


def number(value: float, digits: int, signed: bool = False) -> str:
    """A number with a true minus sign, and a plus sign where asked for; thousands are set apart by commas.

    >>> number(-0.5, 1), number(1234.0, 0), number(2.0, 1, signed=True)
    ('−0.5', '1,234', '+2.0')
    """
    return f"{value:{'+' if signed else ''},.{digits}f}".replace("-", MINUS)


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Terms with what is to be said of each, as a list of descriptions; the descriptions are HTML already."""
    items = "".join(f"<div><dt>{escaped(term)}</dt><dd>{text}</dd></div>" for term, text in pairs)
    return f'<dl class="facts">{items}</dl>'


def player(flac: bytes, label: str) -> str:
    """A player of a FLAC file, which is a part of the page. Nothing is decoded before someone wants to hear it."""
    return (
        f'<audio controls preload="none" aria-label="{escaped(label)}" '
        f'src="data:audio/flac;base64,{base64.b64encode(flac).decode()}"></audio>'
    )


def figure(samples: np.ndarray, title: str) -> str:
    """The spectrogram of a clip, shape (n,), with its axes. The script makes it a slider that seeks."""
    png = spectrogram.png(samples)
    seconds = len(samples) / spectrogram.SAMPLE_RATE
    width, height = round(seconds * spectrogram.WIDTH_PER_SECOND), spectrogram.HEIGHT
    hertz = "".join(
        f'<li style="bottom:{100 * spectrogram.height_of(hz):.2f}%">{_hertz(hz)}</li>' for hz in spectrogram.TICKS_HZ
    )
    marks = "".join(f'<li style="left:{100 * s / seconds:.2f}%">{s}</li>' for s in range(int(seconds) + 1))
    return (
        f'<div class="plot"><ol class="hertz" aria-hidden="true">{hertz}</ol>'
        f'<div class="seek" data-seconds="{seconds:.3f}" data-label="Position in {escaped(title)}">'
        f'<img width="{width}" height="{height}" alt="Spectrogram of {escaped(title)}" '
        f'src="data:image/png;base64,{base64.b64encode(png).decode()}"><span class="playhead"></span></div>'
        f'<ol class="seconds" aria-hidden="true">{marks}</ol></div>'
    )


def _hertz(hz: int) -> str:
    return f"{hz}" if hz < 1_000 else f"{hz // 1_000}k"


def key() -> str:
    """What the spectrograms' axes and colours mean."""
    return (
        f'<p class="key">Spectrograms: frequency in Hz from {spectrogram.LOW_HZ:.0f} to {spectrogram.HIGH_HZ:,.0f}, '
        f"logarithmic, over {CLIP_SECONDS:.0f} seconds. Colour is level below the clip’s loudest point: "
        f'<span class="scale">{MINUS}{spectrogram.RANGE_DB} dB '
        f'<span class="ramp" style="background:linear-gradient(to right,{",".join(spectrogram.palette()[::8])})">'
        "</span> 0 dB</span></p>"
    )


def bars(one: Distribution) -> str:
    """A distribution as a table of numbers, each with a bar as long as it is large."""
    most = max((count for _, count in one.counts), default=0)
    rows = "".join(
        f'<tr><th scope="row">{name(label)}</th>'
        f'<td class="bar"><span style="width:{100 * count / max(most, 1):.2f}%"></span></td>'
        f'<td class="count">{count:,}</td><td class="share">{_share(count, one.total)}</td></tr>'
        for label, count in one.counts
    )
    return (
        f'<table class="bars"><caption>{escaped(one.title)} <small>{escaped(one.counted)}</small></caption>'
        '<thead class="unseen"><tr><th scope="col">value</th><td></td><th scope="col">count</th>'
        f'<th scope="col">share</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _share(count: int, total: int) -> str:
    percent = 100 * count / total
    return escaped("<1 %") if 0 < percent < 1 else f"{percent:.0f} %"
