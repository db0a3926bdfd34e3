"""What a slice needs to be mixed with others: its tempo, its tonic and its dastgah, each with a confidence.

Conventions
-----------
Everything is estimated on the whole recording and handed to its slices, since five seconds alone say too little: tempo
from the ten seconds or so around each slice and the way it moves along the recording, tonality from all of it. A
confidence is the probability that what it speaks of is right, measured on music whose truth is known
(docs/annotation.md). A tempo less likely than `min_confidence`, a tonic or dastgah less likely than
`min_tonal_confidence`, counts as unknown: its value is None, never 0, and its confidence stays to be read. Labels win
over every estimate, and where an estimate contradicts one, `conflicts` says so.

The rooms: `onset` and `pitch` hear, `evidence` keeps what they heard; `tempo`, `beats` and `tonality` conclude;
`conflicts` holds the labels against them, `picture` draws, `jobs` does it all for a table of slices.
"""
