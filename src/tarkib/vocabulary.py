"""The words of the project: ten instruments, seven dastgahs, their scales and avazes, and how people spell them.

Code and tables use the canonical names (`INSTRUMENTS`, `DASTGAHS`, `AVAZES`); what comes from outside, as a folder's
name or a column's heading, goes through `instrument()`, `dastgah()` or `avaz()` first.
"""

import unicodedata
from collections.abc import Iterable

INSTRUMENTS = ("ney", "tar", "santur", "kamancheh", "daf", "tonbak", "piano", "violin", "setar", "avaz")
"""The ten classes, in the order of targets, logits and thresholds."""

PERCUSSION = frozenset({"daf", "tonbak"})
"""Instruments without a pitch: they have no dastgah, only a tempo."""

SUSTAINED = frozenset({"ney", "kamancheh", "violin", "avaz"})
"""Bowed, blown and sung: their notes begin softly."""

DASTGAHS = ("shur", "segah", "nava", "homayoun", "chahargah", "mahur", "rast-panjgah")

SCALES = {
    "shur": (0, 150, 300, 500, 700, 800, 1000),
    "segah": (0, 150, 350, 500, 650, 850, 1050),
    "nava": (0, 200, 300, 500, 700, 850, 1000),
    "homayoun": (0, 150, 400, 500, 700, 800, 1000),
    "chahargah": (0, 150, 400, 500, 700, 850, 1100),
    "mahur": (0, 200, 400, 500, 700, 900, 1100),
    "rast-panjgah": (0, 200, 400, 500, 700, 900, 1100),
}
"""Degrees of each dastgah in cents above the first degree (the tonic), in 24-tone theory notation.

Players' intonation differs; shur's fifth moves between 700 and 650. Nava is a rotation of shur, and mahur equals
rast-panjgah: only the tonic distinguishes them."""

AVAZES = {
    "abuata": "shur",
    "dashti": "shur",
    "afshari": "shur",
    "bayat-e tork": "shur",
    "bayat-e kord": "shur",
    "esfahan": "homayoun",
}
"""Modes derived from a dastgah, and which. They share its scale and have other central tones and melodies. (The class
"avaz", singing, has its name from them, which are mostly sung.)"""

_SPELLINGS = {
    "ney": "نی",
    "tar": "تار",
    "santur": "سنتور, سنطور, santour, santoor",
    "kamancheh": "کمانچه, kamanche, kamancha",
    "daf": "دف, daaf, dayf",
    "tonbak": "تنبک, تمبک, ضرب, tombak, zarb",
    "piano": "پیانو",
    "violin": "ویولن, ویلن, ویولون, ویلون",
    "setar": "سه‌تار, sehtar, sitar",  # the sources write "sitar" and mean the Persian setar
    "avaz": "آواز, خواننده, singer, vocal, vocals, voice",
    "shur": "شور, shoor",
    "segah": "سه‌گاه",
    "nava": "نوا",
    "homayoun": "همایون, homayun, homayoon",
    "chahargah": "چهارگاه",
    "mahur": "ماهور, mahoor",
    "rast-panjgah": "راست‌پنجگاه, راست, rast",
    "abuata": "ابوعطا",
    "dashti": "دشتی",
    "afshari": "افشاری",
    "bayat-e tork": "بیات ترک, bayat tork",
    "bayat-e kord": "بیات کرد, کرد بیات, bayat kord",
    "esfahan": ("اصفهان, بیات اصفهان, bayat-e esfahan, bayat esfahan, isfahan, bayat-e isfahan, bayat isfahan"),
}
"""Other spellings of each canonical name; the first is the one of its own musicians."""

PERSIAN = {name: spellings.partition(",")[0] for name, spellings in _SPELLINGS.items()}
"""Instruments, dastgahs and avazes as their own musicians write them."""

LETTERS = str.maketrans(
    {"ي": "ی", "ى": "ی", "ې": "ی", "ك": "ک", "ڪ": "ک", "ة": "ه", "ە": "ه", "ہ": "ه", "ھ": "ه", "ٱ": "ا", "ـ": ""}
)
"""Persian letters for those that other keyboards and code pages write; for `str.translate`."""

# Prefixes of a mode's name that only say "mode"; -e and ی are linking vowels.
_TITLES = ("dastgah", "dastgah-e", "avaz", "avaz-e", "maye", "maye-ye", "دستگاه", "دستگاه ی", "آواز", "مایه", "مایه ی")


def _plain(name: str) -> str:
    """Letters and digits in lower case and one spelling of each letter, without accents, spaces and marks."""
    letters = unicodedata.normalize("NFKD", name.casefold()).translate(LETTERS)
    return "".join(letter for letter in letters if letter.isalnum())


def _by_spelling(names: Iterable[str]) -> dict[str, str]:
    return {_plain(spelling): name for name in names for spelling in (name, *_SPELLINGS[name].split(","))}


_INSTRUMENTS = _by_spelling(INSTRUMENTS)
_MODES = {
    _plain(title) + spelling: name
    for title in ("", *_TITLES)
    for spelling, name in _by_spelling((*DASTGAHS, *AVAZES)).items()
}


def instrument(name: str) -> str | None:
    """Canonical name of an instrument in any spelling, or None if it is not one of the ten.

    >>> instrument("Santoor"), instrument("سه تار"), instrument("oud")
    ('santur', 'setar', None)
    """
    return _INSTRUMENTS.get(_plain(name))


def dastgah(name: str) -> str | None:
    """Canonical name of a dastgah in any spelling, or None; an avaz (dashti, say) gives its parent.

    >>> dastgah("Rast_Panjgah"), dastgah("Bayat-e Esfahan"), dastgah("آواز دشتی"), dastgah("blues")
    ('rast-panjgah', 'homayoun', 'shur', None)
    """
    mode = _MODES.get(_plain(name))
    return AVAZES.get(mode, mode) if mode else None


def avaz(name: str) -> str | None:
    """Canonical name of an avaz in any spelling; None for anything else, a dastgah included.

    >>> avaz("آواز دشتی"), avaz("Bayat-e Isfahan"), avaz("shur")
    ('dashti', 'esfahan', None)
    """
    mode = _MODES.get(_plain(name))
    return mode if mode in AVAZES else None
