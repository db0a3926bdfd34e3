import unicodedata

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


PERSIAN_INSTRUMENTS = {
    "ney": ["نی", "ني", "نى", "نِی"],
    "tar": ["تار", "تـــار", "ﺗﺎﺭ"],
    "santur": ["سنتور", "سَنتور"],
    "kamancheh": ["کمانچه", "كمانچه", "کمانچة"],
    "daf": ["دف", "دَف", "\u202bدف\u202c"],
    "tonbak": ["تنبک", "تمبک", "تنبك", "ضرب"],
    "piano": ["پیانو", "پيانو"],
    "violin": ["ویولن", "ویلن", "ويولن"],
    "setar": ["سه‌تار", "سه تار", "سهتار", "سه_تار", "سه\u200dتار"],
    "avaz": ["آواز", "اواز", "خواننده"],
}
PERSIAN_DASTGAHS = {
    "shur": [
        *("شور", "دستگاه شور", "دستگاهِ شور", "دشتی", "آواز دشتی", "آوازِ دشتي", "مایهٔ دشتی", "مایه‌ی دشتی", "ابوعطا"),
        *("ابو عطا", "افشاری", "بیات ترک", "بیاتِ ترک", "بيات ترك", "بیات کرد", "کردبیات", "آواز بیات ترک"),
    ],
    "segah": ["سه‌گاه", "سه گاه", "سهگاه", "دستگاه سه‌گاه", "\u200fسه‌گاه"],
    "nava": ["نوا", "دستگاه نوا"],
    "homayoun": ["همایون", "همايون", "بیات اصفهان", "اصفهان", "آواز اصفهان", "آواز بیات اصفهان"],
    "chahargah": ["چهارگاه", "چهار گاه", "چهار‌گاه"],
    "mahur": ["ماهور", "دستگاه_ماهور"],
    "rast-panjgah": ["راست‌پنجگاه", "راست پنجگاه", "راست‌پنج‌گاه", "راستپنجگاه", "دستگاه راست پنج گاه"],
}


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC"])
def test_persian_script_means_what_it_says(form):
    for read, names in ((vocabulary.instrument, PERSIAN_INSTRUMENTS), (vocabulary.dastgah, PERSIAN_DASTGAHS)):
        for name, spellings in names.items():
            assert {spelling: read(unicodedata.normalize(form, spelling)) for spelling in spellings} == dict.fromkeys(
                spellings, name
            )
    assert {*PERSIAN_INSTRUMENTS, *PERSIAN_DASTGAHS} == {*vocabulary.INSTRUMENTS, *vocabulary.DASTGAHS}


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("dastgah-e shur", "shur"),
        ("Dastgāh Segāh", "segah"),
        ("Dastgah-e Rast Panjgah", "rast-panjgah"),
        ("avaz-e dashti", "shur"),
        ("Avaz Afshari", "shur"),
        ("maye-ye dashti", "shur"),
        ("bayat tork", "shur"),
        ("Abu Ata", "shur"),
        ("se gah", "segah"),
        ("Esfahan", "homayoun"),
    ],
)
def test_a_title_before_a_mode_says_no_more(spelling, name):
    assert vocabulary.dastgah(spelling) == name


@pytest.mark.parametrize(
    "word", ["", "\u200c", "-", "ه", "عود", "دستگاه", "آواز", "تار و نی", "تارا", "بیات", "dastgah"]
)
def test_other_words_mean_nothing(word):
    assert vocabulary.dastgah(word) is None
    assert vocabulary.instrument(word) == ("avaz" if word == "آواز" else None)


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
