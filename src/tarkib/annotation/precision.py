"""How estimates are rounded, so that processors whose last bits differ store the same values."""

BPM_DECIMALS, HZ_DECIMALS, CONFIDENCE_DECIMALS, SECONDS_DECIMALS = 1, 2, 3, 3
"""Decimals of estimates.

`tempo.track` and `tonality.estimate` round what they return, and thresholds are compared with what is stored. Scores
are rounded before any argmax (to 1e-3 in `tempo`, 1e-4 in `tonality`, 1e-6 for beats); ties go to the lowest tempo or
tonic, the first dastgah of the vocabulary.
"""

MAX_CONFIDENCE = 0.999
"""Of an estimate; only a label has confidence 1."""
