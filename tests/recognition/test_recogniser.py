import os
import tracemalloc

import numpy as np
import pytest
import torch
from conftest import noise, write
from models.small_mert import model_params
from recognition.ears import recogniser

import tarkib
from tarkib import models
from tarkib.errors import TarkibError
from tarkib.recognition import Recogniser
from tarkib.vocabulary import INSTRUMENTS

RATE = 24_000
CLIP = 5 * RATE


def ramp(samples: int) -> np.ndarray:
    """Samples that are all different, so that a window shows where it was cut."""
    return np.linspace(0.1, 0.9, samples, dtype=np.float32)


@pytest.mark.parametrize(
    ("samples", "hop_s", "starts"),
    [
        (1, 1.0, [0]),
        (2 * RATE, 1.0, [0]),
        (CLIP, 1.0, [0]),
        (CLIP + 1, 1.0, [0, 1]),
        (CLIP + RATE, 1.0, [0, RATE]),
        (CLIP + RATE + 7, 1.0, [0, RATE, RATE + 7]),
        (3 * CLIP, 5.0, [0, CLIP, 2 * CLIP]),
        (2 * CLIP, 3.3, [0, 79_200, CLIP]),
        (CLIP + 6_000, 0.12345, [0, 2_963, 5_926, 6_000]),
    ],
)
def test_windows_are_a_hop_apart_and_the_last_ends_with_the_recording(samples, hop_s, starts):
    one, sound = recogniser(), ramp(samples)
    found = one((sound, RATE), hop_s=hop_s)
    np.testing.assert_allclose(found.starts_s, np.array(starts) / RATE)
    assert found.seconds == samples / RATE
    padded = np.pad(sound, (0, max(0, CLIP - samples)))
    for clip, start in zip(one.classifier.clips, starts, strict=True):
        np.testing.assert_array_equal(clip, padded[start : start + CLIP])


@pytest.mark.parametrize("hop_s", [0.7, 5.0])
def test_a_stream_equals_the_whole(tmp_path, hop_s):
    """Longer than what is decoded at once, twice, and ending in the middle of a hop."""
    sound = noise(143.21)
    path = write(tmp_path / "long.wav", sound, subtype="FLOAT")
    streamed, whole = recogniser(), recogniser()
    a, b = streamed(path, hop_s=hop_s), whole((sound, RATE), hop_s=hop_s)
    np.testing.assert_array_equal(a.starts_s, b.starts_s)
    for one, other in zip(streamed.classifier.clips, whole.classifier.clips, strict=True):
        np.testing.assert_array_equal(one, other)
    # The windows cover the recording and nothing else.
    assert a.starts_s[0] == 0
    assert np.diff(a.starts_s).max() <= hop_s + 1 / RATE
    assert a.ends_s[-1] == a.seconds == b.seconds


def test_memory_does_not_grow_with_the_recording(monkeypatch):
    minutes = 40
    monkeypatch.setattr("tarkib.audio.Stream.__iter__", lambda stream: (noise(60.0, seed=k) for k in range(minutes)))
    one = recogniser()
    one.classifier.forward = lambda samples: torch.zeros(len(samples), len(INSTRUMENTS))
    tracemalloc.start()
    found = one(__file__, hop_s=5.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.seconds == minutes * 60
    assert peak < minutes * 60 * RATE * 4 / 4


def test_samples_of_any_kind_are_the_same_sound():
    mono = (noise(6.0) * 20_000).astype(np.int16)
    reference = recogniser()
    reference((mono.astype(np.float32) / 32_767, RATE))
    kinds = (
        mono,
        np.stack([mono, mono]),
        np.stack([mono, mono], axis=1),  # as soundfile reads
        mono.astype(np.int32) * 65_536,
        mono.astype(np.float64) / 32_767,
        (mono / 32_767).tolist(),
    )
    for sound in kinds:
        one = recogniser()
        one((sound, RATE))
        for clip, expected in zip(one.classifier.clips, reference.classifier.clips, strict=True):
            np.testing.assert_allclose(clip, expected, atol=1e-4)


def test_another_rate_is_resampled():
    found = recogniser()((noise(7.0, rate=44_100), 44_100))
    assert found.seconds == pytest.approx(7.0, abs=1e-3)
    assert len(found.starts_s) == 3


def test_a_silent_window_holds_no_instrument():
    sound = np.concatenate([ramp(CLIP), np.zeros(CLIP, np.float32), np.full(CLIP, 1e-4, np.float32)])
    found = recogniser()((sound, RATE), hop_s=5.0)
    assert found.silent.tolist() == [False, True, True]
    assert (found.window_probabilities[1:] == 0).all()
    assert [(one.instrument, one.start_s, one.end_s) for one in found.segments] == [("ney", 0.0, 5.0)]


@pytest.mark.parametrize("seconds", [3.0, 12.0])
def test_a_constant_is_silent(seconds):
    assert recogniser()((np.full(int(seconds * RATE), 0.5, np.float32), RATE)).silent.all()


def test_a_file_s_oddities_are_remarks(tmp_path):
    sound = noise(7.0)
    path = write(tmp_path / "a.wav", np.stack([sound, -sound], axis=1), subtype="FLOAT")
    found = recogniser()(path)
    assert found.remark == "its channels are in opposite phase and cancel each other; the louder one was taken"
    assert not found.silent.any()
    assert not recogniser()((np.stack([sound, -sound]), RATE)).silent.any()


def test_special_files_are_refused_unopened(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(TarkibError, match=r"is not a regular file \(a FIFO\)"):
        recogniser()(tmp_path / "a.wav")


def test_progress_is_reported_once_a_batch():
    reported = []
    recogniser()((ramp(30 * RATE), RATE), hop_s=1.0, batch_size=4, progress=reported.append)
    assert reported == [3.0, 7.0, 11.0, 15.0, 19.0, 23.0]


def test_classes_without_training_are_unknown():
    one = recogniser()
    one.trained_classes = INSTRUMENTS[1:]
    found = one((ramp(CLIP), RATE))
    assert np.isnan(found.window_probabilities[0, 0])
    assert found.segments == []
    assert not np.isnan(found.window_probabilities[0, 1:]).any()
    assert "never trained on, so not looked for: ney" in str(found)


@pytest.mark.parametrize(
    ("sound", "words"),
    [
        ((np.zeros(0), RATE), r"samples have shape \(0,\)"),
        ((np.zeros((2, 3, 4)), RATE), r"samples have shape \(2, 3, 4\)"),
        ((np.array([0.0, np.nan]), RATE), "holds NaN"),
        (([1, -1, 1], RATE), "samples are int64; give floating-point numbers within -1..1, int16 or int32"),
        ((np.ones(9, np.uint8), RATE), "samples are uint8"),
        ((np.full(RATE, 20_000.0), RATE), r"peaks at 2e\+04 at 0\.00 s, 86 dB above full scale"),
        ((np.ones(9), 0), "its header gives a sample rate of 0 Hz"),
        ("absent.wav", "no such file"),
        (".", "is a folder"),
    ],
)
def test_bad_sound_is_refused(sound, words):
    with pytest.raises(TarkibError, match=words):
        recogniser()(sound)


@pytest.mark.parametrize("hop_s", [0.0, -1.0, 5.1, float("nan")])
def test_a_hop_that_leaves_gaps_is_refused(hop_s):
    with pytest.raises(TarkibError, match=r"hop_s is .*; it must be from 0.1 to 5 seconds"):
        recogniser()((ramp(CLIP), RATE), hop_s=hop_s)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "classifier"
    model = models.build(model_params(backbone="mel-cnn"), seed=3)
    thresholds = dict(zip(INSTRUMENTS, np.linspace(0.3, 0.6, 10).tolist(), strict=True))
    model.save(folder, trained_classes=INSTRUMENTS[:9], thresholds=thresholds)
    return folder


def test_it_loads_a_folder_and_answers_as_the_classifier_does(classifier):
    one = tarkib.Recogniser.load(classifier, device="cpu")
    assert one.trained_classes == INSTRUMENTS[:9]
    sound = noise(8.0)
    found = one((sound, RATE), hop_s=3.0)
    clips = torch.from_numpy(np.stack([sound[:CLIP], sound[-CLIP:]]))
    with torch.inference_mode():
        expected = models.load(classifier)(clips).sigmoid().numpy()
    np.testing.assert_allclose(found.window_probabilities[:, :9], expected[:, :9], atol=1e-6)
    np.testing.assert_allclose(found.thresholds, np.linspace(0.3, 0.6, 10))


def test_a_folder_that_mlflow_wrote_is_loaded_too(classifier, tmp_path):
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "classifier").symlink_to(classifier)
    assert Recogniser.load(tmp_path).trained_classes == INSTRUMENTS[:9]


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(TarkibError, match=r"nowhere: no such model; run dvc repro"):
        Recogniser.load(tmp_path / "nowhere")
    with pytest.raises(TarkibError, match=r"config.json: missing"):
        Recogniser.load(tmp_path)


def test_a_damaged_model_is_named(classifier, tmp_path):
    (tmp_path / "config.json").write_bytes((classifier / "config.json").read_bytes())
    weights = (classifier / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(TarkibError, match=r"model.safetensors: damaged"):
        Recogniser.load(tmp_path)


def test_an_unknown_mlflow_model_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(TarkibError, match=r"models:/nothing@best: MLflow's store .*: .*name=nothing not found"):
        Recogniser.load("models:/nothing@best")


@pytest.mark.parametrize("uri", ["models:/tarkib@best", "runs:/0123/classifier"])
def test_outside_of_a_project_no_store_is_made(tmp_path, monkeypatch, uri):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    words = f"{uri}: MLflow's store {tmp_path}/mlflow.db is not there; call from the project's folder, or set MLFLOW"
    with pytest.raises(TarkibError, match=words):
        Recogniser.load(uri)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_mlflow_reads_needs_no_store(classifier, tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert Recogniser.load(classifier.as_uri()).trained_classes == INSTRUMENTS[:9]
    assert list(tmp_path.iterdir()) == []


def test_the_package_offers_no_other_names():
    with pytest.raises(AttributeError, match="no attribute 'Recognizer'"):
        _ = tarkib.Recognizer
