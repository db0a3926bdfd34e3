import pytest

from tarkib import vocabulary


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("santour", "santur"),
        ("Santoor", "santur"),
        ("kamanche", "kamancheh"),
        ("kamancha", "kamancheh"),
        ("daaf", "daf"),
        ("dayf", "daf"),
        ("tombak", "tonbak"),
        ("zarb", "tonbak"),
        ("sitar", "setar"),
        ("sehtar", "setar"),
        ("singer", "avaz"),
        ("vocal", "avaz"),
        (" Voice ", "avaz"),
    ],
)
def test_other_spellings_of_instruments(spelling, name):
    assert vocabulary.instrument(spelling) == name


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("shoor", "shur"),
        ("homayun", "homayoun"),
        ("Homayoon", "homayoun"),
        ("mahoor", "mahur"),
        ("rastpanjgah", "rast-panjgah"),
        ("rast_panjgah", "rast-panjgah"),
        ("Rast", "rast-panjgah"),
        ("Bayat-e Tork", "shur"),
        ("avaz-e abuata", "shur"),
        ("dashti", "shur"),
        ("afshari", "shur"),
        ("bayat-e esfahan", "homayoun"),
        ("Māhūr", "mahur"),
    ],
)
def test_other_spellings_of_dastgahs(spelling, name):
    assert vocabulary.dastgah(spelling) == name


def test_canonical_names_are_themselves_and_strangers_are_none():
    assert [vocabulary.instrument(name) for name in vocabulary.INSTRUMENTS] == list(vocabulary.INSTRUMENTS)
    assert [vocabulary.dastgah(name) for name in vocabulary.DASTGAHS] == list(vocabulary.DASTGAHS)
    assert vocabulary.instrument("oud") is None
    assert vocabulary.dastgah("blues") is None


def test_no_misspelt_class():
    """The original's `kamanched` never existed, was skipped, and its label set shrank in silence."""
    assert len(set(vocabulary.INSTRUMENTS)) == 10
    assert "kamancheh" in vocabulary.INSTRUMENTS
    assert vocabulary.instrument("kamanched") is None


def test_scales_rise_within_an_octave():
    assert set(vocabulary.SCALES) == set(vocabulary.DASTGAHS)
    for degrees in vocabulary.SCALES.values():
        assert degrees[0] == 0
        assert list(degrees) == sorted(set(degrees))
        assert degrees[-1] < 1200
