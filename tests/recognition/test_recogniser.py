import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import noise, write
from models.small_mert import model_params
from torch import nn

import tarkib
from tarkib import models
from tarkib.errors import TarkibError
from tarkib.recognition import Recogniser
from tarkib.vocabulary import INSTRUMENTS

RATE = 24_000
CLIP = 5 * RATE


class Ears(nn.Module):
    """Logit of ney: 10 where the clip's mean is positive, else -10; of tar: the other way round; others -10.

    `clips` keeps its input, in order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.labels = self.trained_classes = INSTRUMENTS
        self.thresholds = dict.fromkeys(INSTRUMENTS, 0.5)
        self.familiarity = None
        self.head = nn.Identity()
        self.clips: list[np.ndarray] = []

    def states(self, samples: torch.Tensor) -> torch.Tensor:
        self.clips.extend(samples.numpy().copy())
        logits = torch.full((len(samples), len(INSTRUMENTS)), -10.0)
        sign = torch.sign(samples.mean(dim=1))
        logits[:, 0], logits[:, 1] = 10.0 * sign, -10.0 * sign
        return logits


def recogniser() -> Recogniser:
    return Recogniser(Ears(), device="cpu")


def ramp(samples: int) -> np.ndarray:
    """Samples that are all different, so that a window shows where it was cut."""
    return np.linspace(0.1, 0.9, samples, dtype=np.float32)


@pytest.mark.parametrize(
    ("samples", "hop_s", "starts"),
    [
        (1, 1.0, [0]),
        (CLIP, 1.0, [0]),
        (CLIP + 1, 1.0, [0, 1]),
        (CLIP + RATE + 7, 1.0, [0, RATE, RATE + 7]),
        (3 * CLIP, 5.0, [0, CLIP, 2 * CLIP]),
        (2 * CLIP, 3.3, [0, 79_200, CLIP]),
        (CLIP + 6_000, 0.12345, [0, 2_963, 5_926, 6_000]),
    ],
)
def test_windows_are_a_hop_apart_and_the_last_ends_with_the_recording(samples, hop_s, starts):
    ears, sound, reported = recogniser(), ramp(samples), []
    found = ears((sound, RATE), hop_s=hop_s, progress=reported.append)
    np.testing.assert_allclose(found.starts_s, np.array(starts) / RATE)
    assert reported == found.starts_s.tolist()
    assert found.seconds == samples / RATE
    padded = np.pad(sound, (0, max(0, CLIP - samples)))
    for clip, start in zip(ears.classifier.clips, starts, strict=True):
        np.testing.assert_array_equal(clip, padded[start : start + CLIP])


@pytest.mark.parametrize("hop_s", [0.7, 5.0])
@pytest.mark.slow
def test_a_stream_equals_the_whole(tmp_path, hop_s):
    """Longer than what is decoded at once, twice, and ending in the middle of a hop."""
    sound = noise(143.21)
    path = write(tmp_path / "long.wav", sound, subtype="FLOAT")
    streamed, whole = recogniser(), recogniser()
    a, b = streamed(path, hop_s=hop_s), whole((sound, RATE), hop_s=hop_s)
    np.testing.assert_array_equal(a.starts_s, b.starts_s)
    np.testing.assert_array_equal(streamed.classifier.clips, whole.classifier.clips)
    assert a.ends_s[-1] == a.seconds == b.seconds


def test_memory_does_not_grow_with_the_recording(monkeypatch):
    minutes = 40
    monkeypatch.setattr("tarkib.audio.Stream.__iter__", lambda stream: (noise(60.0, seed=k) for k in range(minutes)))
    ears = recogniser()
    ears.classifier.states = lambda samples: torch.zeros(len(samples), len(INSTRUMENTS))
    tracemalloc.start()
    found = ears(__file__, hop_s=5.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.seconds == minutes * 60
    assert peak < minutes * 60 * RATE * 4 / 4


def test_samples_of_any_kind_are_the_same_sound():
    mono = (noise(6.0) * 20_000).astype(np.int16)
    reference = recogniser()
    reference((mono.astype(np.float32) / 32_767, RATE))
    for sound in (
        mono,
        np.stack([mono, mono]),
        np.stack([mono, mono], axis=1),  # as soundfile reads
        mono.astype(np.int32) * 65_536,
        (mono / 32_767).tolist(),
    ):
        ears = recogniser()
        ears((sound, RATE))
        np.testing.assert_allclose(ears.classifier.clips, reference.classifier.clips, atol=1e-4)


def test_another_rate_is_resampled():
    found = recogniser()((noise(7.0, rate=44_100), 44_100))
    assert found.seconds == pytest.approx(7.0, abs=1e-3)
    assert len(found.starts_s) == 3


def test_a_silent_window_holds_no_instrument():
    """A constant is silent too."""
    parts = ramp(CLIP), np.zeros(CLIP), np.full(CLIP, 1e-4), np.full(CLIP, 0.5)
    found = recogniser()((np.concatenate(parts), RATE), hop_s=5.0)
    assert found.silent.tolist() == [False, True, True, True]
    assert (found.window_probabilities[1:] == 0).all()
    assert [(one.instrument, one.start_s, one.end_s) for one in found.segments] == [("ney", 0.0, 5.0)]


def test_oddities_of_a_file_are_remarks(tmp_path):
    sound = noise(7.0)
    found = recogniser()(write(tmp_path / "a.wav", np.stack([sound, -sound], axis=1), subtype="FLOAT"))
    assert found.remark == "its channels are in opposite phase and cancel each other; the louder one was taken"
    assert not found.silent.any()


def test_classes_without_training_are_unknown():
    ears = recogniser()
    ears.trained_classes = INSTRUMENTS[1:]
    found = ears((ramp(CLIP), RATE))
    assert np.isnan(found.window_probabilities).tolist() == [[True] + 9 * [False]]
    assert found.segments == []
    assert "never trained on, so not looked for: ney" in str(found)


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        ((np.zeros(0), RATE), r"samples have shape \(0,\)"),
        ((np.zeros((2, 3, 4)), RATE), r"samples have shape \(2, 3, 4\)"),
        ((np.array([0.0, np.nan]), RATE), "holds NaN"),
        (([1, -1, 1], RATE), "samples are int64; give floating-point numbers within -1..1, int16 or int32"),
        ((np.full(RATE, 20_000.0), RATE), r"peaks at 2e\+04 at 0\.00 s, 86 dB above full scale"),
        ((np.ones(9), 0), "its header gives a sample rate of 0 Hz"),
        ("absent.wav", "^absent.wav: no such file"),
        (".", "is a folder"),
        ("pipe.wav", r"^pipe.wav: is not a regular file \(a FIFO\)"),
    ],
)
def test_bad_sound_is_refused(tmp_path, monkeypatch, sound, words):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.wav")
    with pytest.raises(TarkibError, match=words):
        recogniser()(sound)


@pytest.mark.parametrize("hop_s", [0.0, 5.1, float("nan")])
def test_a_hop_that_leaves_gaps_is_refused(hop_s):
    with pytest.raises(TarkibError, match=r"hop_s is .*; it must be from 0.1 to 5 seconds"):
        recogniser()((ramp(CLIP), RATE), hop_s=hop_s)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "artifacts/classifier"
    model = models.build(model_params(backbone="mel-cnn"), seed=3)
    thresholds = dict(zip(INSTRUMENTS, np.linspace(0.3, 0.6, 10).tolist(), strict=True))
    model.save(folder, trained_classes=INSTRUMENTS[:9], thresholds=thresholds)
    return folder


@pytest.fixture
def no_store(tmp_path, monkeypatch):
    """A working directory outside of any project."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)


def test_it_loads_a_folder_and_answers_as_the_classifier_does(classifier):
    loaded = tarkib.Recogniser.load(classifier, device="cpu")
    assert loaded.trained_classes == INSTRUMENTS[:9]
    sound = noise(8.0)
    found = loaded((sound, RATE), hop_s=3.0)
    with torch.inference_mode():
        clips = torch.from_numpy(np.stack([sound[:CLIP], sound[-CLIP:]]))
        expected = models.load(classifier)(clips).sigmoid().numpy()
    np.testing.assert_allclose(found.window_probabilities[:, :9], expected[:, :9], atol=1e-6)
    np.testing.assert_allclose(found.thresholds, np.linspace(0.3, 0.6, 10))


def test_a_folder_or_address_that_mlflow_wrote_is_loaded_without_a_store(classifier, tmp_path, no_store):
    for source in (classifier.parents[1], classifier.as_uri()):
        assert Recogniser.load(source).trained_classes == INSTRUMENTS[:9]
    assert list(tmp_path.iterdir()) == []


def test_a_missing_or_damaged_model_is_named(classifier, tmp_path):
    with pytest.raises(TarkibError, match=r"nowhere: no such model; run dvc repro"):
        Recogniser.load(tmp_path / "nowhere")
    with pytest.raises(TarkibError, match=r"config.json: missing"):
        Recogniser.load(tmp_path)
    with pytest.raises(TarkibError, match=r"config.json: is a file; name a classifier's folder"):
        Recogniser.load(classifier / "config.json")
    with pytest.raises(TarkibError, match=r"mert_tiny: a backbone, not a classifier"):
        Recogniser.load(Path(models.__path__[0]) / "mert_tiny")
    (tmp_path / "config.json").write_bytes((classifier / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((classifier / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(TarkibError, match=r"model.safetensors: damaged"):
        Recogniser.load(tmp_path)


def test_an_unknown_mlflow_model_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(TarkibError, match=r"models:/nothing@best: MLflow's store .*: .*name=nothing not found"):
        Recogniser.load("models:/nothing@best")


@pytest.mark.parametrize("uri", ["models:/tarkib@best", "runs:/0123/classifier"])
def test_outside_of_a_project_no_store_is_made(tmp_path, no_store, uri):
    words = f"{uri}: MLflow's store {tmp_path}/mlflow.db is not there; call from the project's folder, or set MLFLOW"
    with pytest.raises(TarkibError, match=words):
        Recogniser.load(uri)
    assert list(tmp_path.iterdir()) == []
