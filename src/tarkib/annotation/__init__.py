"""Tempo, tonic and dastgah of recordings and their slices, each with a confidence.

Estimates come from the whole recording, since five seconds alone say too little. A confidence is the probability that
the estimate is right, measured on music whose truth is known (docs/annotation.md). Below `min_confidence` a tempo, and
below `min_tonal_confidence` a tonic or dastgah, is unknown: its value is None, never 0. Labels win over estimates.

Estimates are rounded, so that processors whose last bits differ store the same values; so are scores before an argmax.
"""
