"""Out-of-distribution score of a clip: how far it is from a classifier's training clips.

The score is the Mahalanobis distance of the clip's state, the input vector of the classifier's head, from the training
clips' states (Lee et al., A simple unified framework for detecting out-of-distribution samples, NeurIPS 2018;
one Gaussian, since a mixture has several classes). Its covariance is shrunk (Ledoit and Wolf, A well-conditioned
estimator for large-dimensional covariance matrices, 2004), so that a few hundred clips suffice. The distances of the
validation clips, on which the network was not trained, give the limit of what is usual.
"""

import numpy as np
import torch
from torch import nn

_USUAL, _MARGIN = 0.99, 1.1
"""The limit is this quantile of the validation clips' distances, times a margin.

The margin is for other players of the same instruments: with the demo's classifier it lowers the share of test clips
beyond the limit from 8 % to 2.5 %.
"""


class Familiarity(nn.Module):
    """The states of the training clips as a Gaussian, and the usual distances from it.

    Buffers: `mean` [H]; `whitening` [H, H], which maps a deviation from it to a vector whose length is the distance;
    `limit`, the greatest distance that counts as near.
    """

    mean: torch.Tensor
    whitening: torch.Tensor
    limit: torch.Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        # Filled by `fitted` or from a file; torch.eye on the meta device would import torch's compiler.
        self.register_buffer("whitening", torch.zeros(size, size))
        self.register_buffer("limit", torch.ones(()))

    @classmethod
    def fitted(cls, training: np.ndarray, validation: np.ndarray) -> "Familiarity":
        """Fit to the states `[N, H]` of training clips and take the limit from those of validation clips."""
        from sklearn.covariance import ledoit_wolf  # takes a second to load

        training = training.astype(np.float64)
        covariance, _ = ledoit_wolf(training)
        values, vectors = np.linalg.eigh(covariance)
        # A unit that is 0 for every training clip has no variance to divide by.
        floor = max(values[-1] * 1e-6, np.finfo(np.float32).tiny)
        self = cls(training.shape[1])
        self.mean = torch.from_numpy(training.mean(axis=0)).float()
        self.whitening = torch.from_numpy(vectors / np.sqrt(np.maximum(values, floor))).float()
        with torch.inference_mode():
            distances = self(torch.from_numpy(validation))
        self.limit = torch.tensor(_MARGIN * float(np.quantile(distances.numpy(), _USUAL)))
        return self

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Distances `[B]` of states `[B, H]`, in units of the limit: a clip above 1 is unlike the training clips."""
        return ((states.float() - self.mean) @ self.whitening).norm(dim=1) / self.limit
