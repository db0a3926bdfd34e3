"""The networks: MERT and its constant-Q branch, a log-mel baseline, and the classifier on top of either.

Importing this package takes torch, transformers and numpy only, so that a trained model can be used without the
pipeline.
"""

from tarkib.models.backbone import load_backbone
from tarkib.models.classifier import InstrumentClassifier, build, load
from tarkib.models.hub import PUBLISHED

__all__ = ["PUBLISHED", "InstrumentClassifier", "build", "load", "load_backbone"]
