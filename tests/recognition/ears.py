"""A classifier with known answers, by the sign of a clip's mean."""

import numpy as np
import torch
from torch import nn

from tarkib.recognition import Recogniser
from tarkib.vocabulary import INSTRUMENTS


class Ears(nn.Module):
    """Logit of ney: 10 where the clip's mean is positive, else -10; of tar: the other way round; others -10.

    `clips` keeps its input, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.labels = self.trained_classes = INSTRUMENTS
        self.thresholds = dict.fromkeys(INSTRUMENTS, 0.5)
        self.clips: list[np.ndarray] = []

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        self.clips.extend(samples.numpy().copy())
        logits = torch.full((len(samples), len(INSTRUMENTS)), -10.0)
        sign = torch.sign(samples.mean(dim=1))
        logits[:, 0], logits[:, 1] = 10.0 * sign, -10.0 * sign
        return logits


def recogniser() -> Recogniser:
    return Recogniser(Ears(), device="cpu")
