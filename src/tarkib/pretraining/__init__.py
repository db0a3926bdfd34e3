"""Letting a MERT hear music without labels: masked prediction with two teachers (Li et al., "MERT", ICLR 2024).

    recordings → corpus (clips cut once) → excerpts, each with a mask → backbone → guesses of what was masked

The acoustic teacher names each frame's cluster of log-mel frames, the musical one gives its constant-Q bins.
"""

from tarkib.pretraining.corpus import Corpus
from tarkib.pretraining.excerpts import Excerpts
from tarkib.pretraining.prediction import MaskedPrediction
from tarkib.pretraining.teachers import Teachers

__all__ = ["Corpus", "Excerpts", "MaskedPrediction", "Teachers"]
