"""The networks: MERT with a constant-Q branch, a log-mel baseline, and the classifier on top of either."""

from tarkib.models.backbone import load_backbone
from tarkib.models.classifier import InstrumentClassifier, build, load

__all__ = ["InstrumentClassifier", "build", "load", "load_backbone"]
