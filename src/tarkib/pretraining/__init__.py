"""Pre-training of a MERT without labels: masked prediction with two teachers (Li et al., "MERT", ICLR 2024).

recordings → corpus (decoded once) → excerpts, each with a mask → backbone → predictions of the masked frames
"""

from tarkib.pretraining.corpus import Corpus, cut
from tarkib.pretraining.training import Pretrained, card, pretrain

__all__ = ["Corpus", "Pretrained", "card", "cut", "pretrain"]
