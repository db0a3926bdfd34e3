"""Tempo, tonic and dastgah of recordings and their slices, each with a confidence.

Estimates come from the whole recording, since five seconds alone say too little. A confidence is the probability that
the estimate is right, measured on music whose truth is known (docs/annotation.md). Below `min_confidence` a tempo, and
below `min_tonal_confidence` a tonic or dastgah, is unknown: its value is None, never 0. Labels win over estimates;
`conflicts` lists those that the sound contradicts.

`onset` and `pitch` analyse, `evidence` keeps their output; `tempo` and `tonality` estimate; `conclusion`
combines estimates and labels; `jobs` does all of it for a table of slices.
"""

BPM_DECIMALS, HZ_DECIMALS, CONFIDENCE_DECIMALS, SECONDS_DECIMALS = 1, 2, 3, 3
"""Decimals of estimates.

`tempo.track` and `tonality.estimate` round what they return, so that processors whose last bits differ store the same
values, and thresholds are compared with what is stored. Scores are rounded before any argmax (to 1e-3 in `tempo`, 1e-4
in `tonality`, 1e-6 for beats); ties go to the lowest tempo or tonic, the first dastgah of the vocabulary.
"""

MAX_CONFIDENCE = 0.999
"""Of an estimate; only a label has confidence 1."""
