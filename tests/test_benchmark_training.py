import os
import subprocess
import sys

import pytest
import torch
from conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY))

from benchmarks import loops, training
from benchmarks.training import Result
from tarkib.errors import TarkibError
from tarkib.training import graphs

CPU = torch.device("cpu")
RUN_WITHOUT_THEM = """
import importlib.machinery, runpy, sys
blocked = set(
    "accelerate datasets dvc joblib librosa matplotlib mlflow numba pandas peft pyarrow scipy sklearn soundfile soxr "
    "tarkib.audio tarkib.training.trainer torchaudio torchvision".split()
)
whole = importlib.machinery.PathFinder
class Without(whole):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        parts = name.split(".")
        missing = any(".".join(parts[:n]) in blocked for n in (1, 2, 3))
        return None if missing else whole.find_spec(name, path, target)
sys.meta_path = [Without if one is whole else one for one in sys.meta_path]
# An editable installation brings a finder of its own, which would find the rest of the library too.
sys.meta_path = [one for one in sys.meta_path if "editable" not in repr(one).lower()]
sys.argv[0] = "training"
runpy.run_module("benchmarks.training", run_name="__main__", alter_sys=True)
"""


pytestmark = pytest.mark.slow


def setting(title: str) -> loops.Setting:
    return next(one for one in loops.SETTINGS if title in one.title)


def test_it_runs_with_torch_transformers_and_numpy_alone():
    command = [sys.executable, "-c", RUN_WITHOUT_THEM, "--tiny", "--steps", "1", "--print-only"]
    done = subprocess.run(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    assert [row[0] for row in rows] == [one.title for one in loops.SETTINGS]
    for row in rows:
        if "LoRA" in row[0]:
            assert row[-1] == "peft is not installed"
        elif "CUDA" in row[0] or "cuda" in row[0]:
            assert row[-1] == "needs a GPU"
        elif "whole" in row[0]:
            assert row[-1] == "tarkib.audio is not installed"
        else:
            assert float(row[2].replace(",", "")) > 0
            assert float(row[3].replace(",", "")) > 0
            # A small model's FLOP are not known, nor what this processor could.
            assert row[5:7] == ["–", "–"]
            assert row[7].endswith("iB")


@pytest.mark.parametrize(
    ("title", "trained"),
    [
        (loops.HEADLINE.title, lambda name: True),
        ("convolutions frozen", lambda name: not name.startswith("backbone.feature_extractor.")),
        ("LoRA", lambda name: "lora_" in name or not name.startswith("backbone.")),
        ("the head on them", lambda name: not name.startswith("backbone.")),
    ],
)
def test_a_setting_trains_what_it_says(monkeypatch, title, trained):
    made = []
    whole = loops._classifier
    monkeypatch.setattr(loops, "_classifier", lambda *args: made.append(whole(*args)) or made[0])
    step = setting(title).loop(setting(title), loops.TINY, CPU)
    before = {name: one.detach().clone() for name, one in made[0].named_parameters()}
    # An adapter's second matrix starts at zero, so its first one learns from the second step on.
    for _ in range(2):
        assert torch.isfinite(step())
    moved = {name for name, one in made[0].named_parameters() if not torch.equal(one, before[name])}
    assert moved == {name for name in before if trained(name)} - {"backbone.masked_spec_embed"}


def test_the_most_important_rows_come_first():
    makers = [one.loop for one in loops.SETTINGS[:3]]
    assert makers == [loops.ours, loops.plain, loops.original]
    assert loops.SETTINGS[0] == loops.HEADLINE


def test_an_epoch_of_the_whole_training_is_timed():
    (row,) = (one for one in loops.SETTINGS if one.whole and not one.graph)
    found = training.measure(row, loops.TINY, 1, 1.0)
    assert found.step_s > 0
    assert found.reason == ""


def test_steps_that_are_no_graph_are_not_called_one(monkeypatch):
    class Refusing:
        def run(self, function):
            return function()

        def record(self, function):
            raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "Recorder", Refusing)
    row = setting("as one CUDA graph")
    step = row.loop(row, loops.TINY, CPU)
    for _ in range(3):
        assert torch.isfinite(step())
    with pytest.raises(TarkibError, match="CUDA cannot record the step"):
        step()


def test_figures_follow_from_the_step_time():
    """At half of 790 TFLOP/s a batch of 16 takes 34.4 ms, and the paper's training 17.9 minutes."""
    original, lora, failed = setting("original"), setting("LoRA"), setting("checkpointing")
    step_s = 16 * 849e9 / 395e12
    results = {
        original: Result(9 * step_s, 17 * 2**30),
        loops.HEADLINE: Result(step_s, 11 * 2**30),
        lora: Result(step_s / 2, 2**29),
        failed: Result(reason="out of memory"),
    }
    rows = [line.strip("| ").split(" | ")[2:] for line in training.table(results, loops.PAPER, 500e12).splitlines()]
    assert rows[3][:7] == ["34.4", "465", "9.00", "50.0%", "79.0%", "11.0 GiB", "17.9 min"]
    assert rows[4][:7] == ["17.2", "931", "18.0", "–", "–", "512 MiB", "9.0 min"]
    assert rows[5] == [*["–"] * 7, "out of memory"]
    whole, plain, wide = setting("the whole training"), setting("plain"), setting("batch 64")
    results |= {whole: Result(1.3 * step_s, 0), plain: Result(2 * step_s, 0), wide: Result(4 * step_s, 0)}
    met = training.aims(results, loops.PAPER).splitlines()[2:]
    assert [line.partition(": ")[2] for line in met] == [
        "34.4 ms, met",
        "44.7 ms, met",
        "9.0 times, met",
        "2.0 times, met",
        "465.3 clips/s, met",
        "23.3 min, met",
    ]
    missed = {
        one: Result(1.3 * found.step_s) if one.loop is loops.ours and found.step_s else found
        for one, found in results.items()
    }
    assert training.aims(missed, loops.PAPER).count("missed") == 6
    assert training.aims({loops.HEADLINE: Result(step_s, 0)}, loops.PAPER).count("met") == 1


def _killed() -> None:
    os._exit(3)


def _too_large() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_a_setting_that_fails_gives_a_reason():
    assert training._alone(int, 17, timeout=60) == 17
    assert training._alone(_killed, timeout=60).reason == "its process ended with 3"
    assert training._alone(int, "no\nnumber", timeout=60).reason.startswith("ValueError: invalid literal")
    assert training._alone(_too_large, timeout=60).reason == "the device's memory is too small"
