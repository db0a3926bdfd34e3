"""The words of the project: ten instruments, seven dastgahs and their scales, and the other ways people spell them.

Conventions
-----------
Names in the code and in every table are the canonical ones (`INSTRUMENTS`, `DASTGAHS`); whatever comes from outside,
a folder's name or a column's heading, goes through `instrument()` or `dastgah()` first. The order of `INSTRUMENTS` is
the order of the classes everywhere: targets, logits, thresholds.
"""

import unicodedata
from collections.abc import Iterable, Mapping

INSTRUMENTS = ("ney", "tar", "santur", "kamancheh", "daf", "tonbak", "piano", "violin", "setar", "avaz")
"""The ten classes, in the order of the model's outputs."""

PERCUSSION = frozenset({"daf", "tonbak"})
"""Instruments without a pitch to speak of: they have no dastgah and are bound by tempo alone."""

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
"""Degrees of each dastgah in cents above the scale's first degree (the tonic), in 24-tone theory notation.

Players' intonation differs; shur's fifth moves between 700 and 650. Note that nava is a rotation of shur and that mahur
equals rast-panjgah: telling these apart takes the tonic."""

PERSIAN = {
    "ney": "نی",
    "tar": "تار",
    "santur": "سنتور",
    "kamancheh": "کمانچه",
    "daf": "دف",
    "tonbak": "تنبک",
    "piano": "پیانو",
    "violin": "ویولن",
    "setar": "سه‌تار",
    "avaz": "آواز",
    "shur": "شور",
    "segah": "سه‌گاه",
    "nava": "نوا",
    "homayoun": "همایون",
    "chahargah": "چهارگاه",
    "mahur": "ماهور",
    "rast-panjgah": "راست‌پنجگاه",
}
"""Instruments and dastgahs as their own musicians write them, for people to read, and understood as names."""

LETTERS = str.maketrans(
    {"ي": "ی", "ى": "ی", "ې": "ی", "ك": "ک", "ڪ": "ک", "ة": "ه", "ە": "ه", "ہ": "ه", "ھ": "ه", "ٱ": "ا", "ـ": ""}
)
"""Letters that other keyboards and code pages write for Persian ones, by their Unicode numbers, for `str.translate`."""

_OTHER_INSTRUMENTS = {
    "santur": ("santour", "santoor", "سنطور"),
    "kamancheh": ("kamanche", "kamancha"),
    "daf": ("daaf", "dayf"),
    "tonbak": ("tombak", "zarb", "تمبک", "ضرب"),
    "violin": ("ویلن", "ویولون", "ویلون"),
    # The sources write "sitar" and mean the Persian setar.
    "setar": ("sitar", "sehtar"),
    "avaz": ("singer", "vocal", "vocals", "voice", "خواننده"),
}

_OTHER_DASTGAHS = {
    "shur": (
        *("shoor", "abuata", "dashti", "afshari", "bayat-e tork", "bayat tork", "bayat-e kord", "bayat kord"),
        *("ابوعطا", "دشتی", "افشاری", "بیات ترک", "بیات کرد", "کرد بیات"),
    ),
    "homayoun": (
        *("homayun", "homayoon", "esfahan", "bayat-e esfahan", "bayat esfahan"),
        *("isfahan", "bayat-e isfahan", "bayat isfahan", "اصفهان", "بیات اصفهان"),
    ),
    "mahur": ("mahoor",),
    "rast-panjgah": ("rast", "راست"),
}

# What may stand before a mode's name and says no more than that it is one; -e and ی join the two.
_TITLES = ("dastgah", "dastgah-e", "avaz", "avaz-e", "maye", "maye-ye", "دستگاه", "دستگاه ی", "آواز", "مایه", "مایه ی")


def _plain(name: str) -> str:
    """Letters and digits alone, in lower case and one script's way of writing each; no accents, spaces, marks."""
    letters = unicodedata.normalize("NFKD", name.casefold()).translate(LETTERS)
    return "".join(letter for letter in letters if letter.isalnum())


def _spellings(names: Iterable[str], others: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Canonical names by each of their spellings in the plain form."""
    spelt = [(name, name) for name in names] + [(PERSIAN[name], name) for name in names]
    spelt += [(spelling, name) for name, spellings in others.items() for spelling in spellings]
    return {_plain(spelling): name for spelling, name in spelt}


_INSTRUMENTS = _spellings(INSTRUMENTS, _OTHER_INSTRUMENTS)
_MODES = _spellings(DASTGAHS, _OTHER_DASTGAHS)
_DASTGAHS = {_plain(title) + spelling: name for title in ("", *_TITLES) for spelling, name in _MODES.items()}


def instrument(name: str) -> str | None:
    """Canonical name of an instrument in any spelling met in the wild, or None where it is none of the ten.

    >>> instrument("Santoor"), instrument("سه تار"), instrument("oud")
    ('santur', 'setar', None)
    """
    return _INSTRUMENTS.get(_plain(name))


def dastgah(name: str) -> str | None:
    """Canonical name of a dastgah in any spelling, an avaz (dashti, say) giving its parent; None where it is none.

    >>> dastgah("Rast_Panjgah"), dastgah("Bayat-e Esfahan"), dastgah("آواز دشتی"), dastgah("blues")
    ('rast-panjgah', 'homayoun', 'shur', None)
    """
    return _DASTGAHS.get(_plain(name))
