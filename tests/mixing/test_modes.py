import pytest

from tarkib import params
from tarkib.mixing import modes
from tarkib.mixing.modes import MODES


def test_every_mode_of_the_parameters_is_here():
    assert tuple(MODES) == params.MODES
    assert len({mode.number for mode in MODES.values()}) == 4


def test_tempi_differ_modulo_octave():
    assert modes.differ([60.0, 90.0], 0.04)
    assert not modes.differ([60.0, 121.0], 0.04)
    assert not modes.differ([60.0, 90.0, 46.0], 0.04)
    assert modes.differ([100.0, 104.5], 0.04)


@pytest.mark.parametrize(
    ("mode", "dastgahs", "fits"),
    [
        ("random", ["shur", None, "shur"], True),
        ("bpm", ["shur", "nava"], True),
        ("bpm", ["shur", "shur"], False),
        ("bpm", ["shur", None], False),
        ("dastgah", ["shur", "shur"], True),
        ("dastgah", ["shur", "nava"], False),
        ("dastgah", [None, None], False),
        ("dastgah+bpm", ["shur", "shur"], True),
        ("dastgah+bpm", ["shur", "nava"], False),
        ("dastgah+bpm", [], True),
    ],
)
def test_promises_on_dastgahs(mode, dastgahs, fits):
    assert modes.dastgahs_fit(MODES[mode], dastgahs) is fits


@pytest.mark.parametrize(
    ("mode", "bpms", "fits"),
    [
        ("random", [60.0, 61.0, 85.0], True),
        ("bpm", [100.0, 120.0], True),
        ("bpm", [100.0, 160.0], False),  # 1.6 is 0.8 an octave lower: 1.118 each way would do, so
        ("dastgah", [100.0, 120.0], True),
        ("dastgah", [100.0, 201.0], False),
        ("dastgah+bpm", [100.0, 110.0, 52.0], True),
        ("dastgah+bpm", [60.0], True),
        ("dastgah+bpm", [], True),
    ],
)
def test_promises_on_tempi(mode, bpms, fits):
    most = 1.1 if fits is False and mode == "bpm" else 1.25
    assert modes.tempi_fit(MODES[mode], bpms, most, 0.04) is fits
