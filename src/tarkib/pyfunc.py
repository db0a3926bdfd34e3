"""The classifier as MLflow serves it: clips in, probabilities out.

MLflow stores this file beside the weights and runs it to load the model ("models from code"), so nothing is pickled.
"""

import mlflow
import numpy as np
from mlflow.pyfunc import PythonModel


class ServedClassifier(PythonModel):
    """From clips, float32 ``[B, 120000]`` at 24 kHz, to probabilities, float32 ``[B, 10]``, as `INSTRUMENTS` go."""

    def load_context(self, context) -> None:
        """Load the weights from the model's artifacts."""
        from tarkib.models import classifier

        self.classifier = classifier.load(context.artifacts["classifier"]).eval()

    def predict(self, context, model_input: np.ndarray, params=None) -> np.ndarray:
        """Probabilities of the instruments in each clip."""
        import torch

        samples = model_input["samples"] if isinstance(model_input, dict) else model_input
        with torch.inference_mode():
            return self.classifier(torch.from_numpy(np.asarray(samples, np.float32))).sigmoid().numpy()


mlflow.models.set_model(ServedClassifier())
