"""Tarkib recognises the instruments of Persian music, several at once, in five-second clips.

>>> from tarkib import Recogniser
>>> found = Recogniser.load("models/classifier")("song.mp3")  # doctest: +SKIP
"""

from typing import Any

__all__ = ["Recogniser"]


def __getattr__(name: str) -> Any:
    # On first use: torch takes seconds to load, and most of what begins with `import tarkib` does not need it.
    if name == "Recogniser":
        from tarkib.recognition import Recogniser

        return Recogniser
    raise AttributeError(f"module 'tarkib' has no attribute {name!r}")
