"""Labels of a recording, given by people. They win over every estimate."""

from typing import NamedTuple


class Labels(NamedTuple):
    """A recording's labels; None if unlabelled."""

    instrument: str | None = None
    """one of `vocabulary.INSTRUMENTS`; percussion gets no tonic and no dastgah"""
    dastgah: str | None = None
    """one of `vocabulary.DASTGAHS`"""
    tonic_hz: float | None = None
    """the first degree of the scale, in any octave"""
    bpm: float | None = None
    """tempo of the whole recording"""
