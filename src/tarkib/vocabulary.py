"""The words of the project: ten instruments, seven dastgahs and their scales, and the other ways people spell them.

Conventions
-----------
Names in the code and in every table are the canonical ones (`INSTRUMENTS`, `DASTGAHS`); whatever comes from outside,
a folder's name or a column's heading, goes through `instrument()` or `dastgah()` first. The order of `INSTRUMENTS` is
the order of the classes everywhere: targets, logits, thresholds.
"""

import unicodedata

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
"""Instruments and dastgahs as their own musicians write them, for people to read; never used as a key."""

_OTHER_INSTRUMENTS = {
    "santour": "santur",
    "santoor": "santur",
    "kamanche": "kamancheh",
    "kamancha": "kamancheh",
    "daaf": "daf",
    "dayf": "daf",
    "tombak": "tonbak",
    "zarb": "tonbak",
    # The sources write "sitar" and mean the Persian setar.
    "sitar": "setar",
    "sehtar": "setar",
    "singer": "avaz",
    "vocal": "avaz",
    "vocals": "avaz",
    "voice": "avaz",
}

_OTHER_DASTGAHS = {
    "shoor": "shur",
    "avaz-e-abuata": "shur",
    "abuata": "shur",
    "dashti": "shur",
    "afshari": "shur",
    "bayat-e-tork": "shur",
    "homayun": "homayoun",
    "homayoon": "homayoun",
    "bayat-e-esfahan": "homayoun",
    "mahoor": "mahur",
    "rastpanjgah": "rast-panjgah",
    "rast": "rast-panjgah",
}

_INSTRUMENT_SPELLINGS = {**{name: name for name in INSTRUMENTS}, **_OTHER_INSTRUMENTS}
_DASTGAH_SPELLINGS = {**{name: name for name in DASTGAHS}, **_OTHER_DASTGAHS}


def _plain(name: str) -> str:
    """Lower case, accents and surrounding space dropped, every space or underscore a hyphen."""
    letters = unicodedata.normalize("NFKD", name.strip().casefold())
    letters = "".join(c for c in letters if not unicodedata.combining(c))
    return "-".join(letters.replace("_", " ").replace("-", " ").split())


def instrument(name: str) -> str | None:
    """Canonical name of an instrument in any spelling met in the wild, or None where it is none of the ten.

    >>> instrument("Santoor"), instrument("oud")
    ('santur', None)
    """
    return _INSTRUMENT_SPELLINGS.get(_plain(name))


def dastgah(name: str) -> str | None:
    """Canonical name of a dastgah in any spelling, an avaz (dashti, say) giving its parent; None where it is none.

    >>> dastgah("Rast_Panjgah"), dastgah("Bayat-e Esfahan"), dastgah("blues")
    ('rast-panjgah', 'homayoun', None)
    """
    return _DASTGAH_SPELLINGS.get(_plain(name))
