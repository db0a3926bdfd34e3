"""Which instruments play when, in recordings of any length."""

from tarkib.recognition.recogniser import HOPS, Recogniser
from tarkib.recognition.result import Recognition, Segment

__all__ = ["HOPS", "Recogniser", "Recognition", "Segment"]
