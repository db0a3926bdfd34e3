"""Letting a MERT hear music without labels: masked prediction with two teachers (Li et al., "MERT", ICLR 2024).

    recordings → corpus (cut once) → excerpts, each with a mask → backbone → guesses of what was masked

The acoustic teacher names each frame's cluster of log-mel frames, the musical one gives its constant-Q bins.
"""

from tarkib.pretraining.corpus import Corpus, cut
from tarkib.pretraining.training import Pretrained, pretrain

__all__ = ["Corpus", "Pretrained", "cut", "pretrain"]
