import pytest

from tarkib import params
from tarkib.mixing import modes
from tarkib.mixing.modes import MODES


def test_every_mode_of_the_parameters_is_here():
    assert tuple(MODES) == params.MODES
    assert [(mode.name, mode.number) for mode in MODES.values()] == [(name, i) for i, name in enumerate(MODES)]


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
        ("bpm", [100.0, 141.0], True),  # 1.187 each way
        ("bpm", [100.0, 141.0, 119.0, 168.0], False),
        ("dastgah", [100.0, 104.5], True),
        ("dastgah", [100.0, 201.0], False),  # modulo octave
        ("dastgah", [60.0, 90.0, 46.0], False),
        ("dastgah+bpm", [100.0, 110.0, 52.0], True),
        ("dastgah+bpm", [], True),
    ],
)
def test_promises_on_tempi(mode, bpms, fits):
    assert modes.tempi_fit(MODES[mode], bpms, 1.25, 0.04) is fits
