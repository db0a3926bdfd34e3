import unicodedata

import pytest

from tarkib import vocabulary

INSTRUMENTS = {
    "santur": ["santour", "Santoor"],
    "kamancheh": ["kamanche", "kamancha"],
    "daf": ["daaf", "dayf"],
    "tonbak": ["tombak", "zarb"],
    "setar": ["sitar", "sehtar"],
    "avaz": ["singer", "vocal", " Voice "],
}
DASTGAHS = {
    "shur": [
        *("shoor", "Bayat-e Tork", "avaz-e abuata", "dashti", "afshari", "dastgah-e shur", "avaz-e dashti"),
        *("Avaz Afshari", "maye-ye dashti", "bayat tork", "Abu Ata"),
    ],
    "segah": ["Dastgāh Segāh", "se gah"],
    "homayoun": ["homayun", "Homayoon", "bayat-e esfahan", "Esfahan"],
    "mahur": ["mahoor", "Māhūr"],
    "rast-panjgah": ["rastpanjgah", "rast_panjgah", "Rast", "Dastgah-e Rast Panjgah"],
}
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


TABLES = (
    (vocabulary.instrument, INSTRUMENTS),
    (vocabulary.dastgah, DASTGAHS),
    (vocabulary.instrument, PERSIAN_INSTRUMENTS),
    (vocabulary.dastgah, PERSIAN_DASTGAHS),
)


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC"])
@pytest.mark.parametrize(("read", "names"), TABLES)
def test_spellings_in_latin_and_persian_script(read, names, form):
    for name, spellings in names.items():
        assert [spelling for spelling in spellings if read(unicodedata.normalize(form, spelling)) != name] == []


def test_every_name_has_a_persian_spelling():
    assert {*PERSIAN_INSTRUMENTS, *PERSIAN_DASTGAHS} == {*vocabulary.INSTRUMENTS, *vocabulary.DASTGAHS}


@pytest.mark.parametrize(
    "word", ["", "\u200c", "-", "ه", "عود", "دستگاه", "آواز", "تار و نی", "تارا", "بیات", "dastgah"]
)
def test_other_words_mean_nothing(word):
    assert vocabulary.dastgah(word) is None
    assert vocabulary.instrument(word) == ("avaz" if word == "آواز" else None)


def test_canonical_names_are_themselves_and_strangers_are_none():
    assert [vocabulary.instrument(name) for name in vocabulary.INSTRUMENTS] == list(vocabulary.INSTRUMENTS)
    assert [vocabulary.dastgah(name) for name in vocabulary.DASTGAHS] == list(vocabulary.DASTGAHS)
    # The original's `kamanched` never existed, was skipped, and its label set shrank in silence.
    assert {vocabulary.instrument("oud"), vocabulary.instrument("kamanched"), vocabulary.dastgah("blues")} == {None}
    assert len(set(vocabulary.INSTRUMENTS)) == 10
