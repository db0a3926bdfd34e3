"""A full disk, simulated by a limit on the size of files: both let a write fail midway."""

import re

import pytest

from .conftest import checksums, refused, run_python, run_stage, set_parameters

pytestmark = pytest.mark.slow

LIMITED = """
import resource, runpy, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
runpy.run_module("stages.{stage}", run_name="__main__")
"""


@pytest.mark.parametrize(("stage", "workers"), [("demo", 2), ("slice", 1), ("mix", 2)])
def test_a_stage_without_room_says_so_and_leaves_the_old(copied, stage, workers):
    set_parameters(copied, run={"workers": workers})
    words = "error: File too large; make room (or raise the limit) and run again; nothing is half-written"
    assert words in refused(copied, LIMITED.format(stage=stage, room=100_000))


FULL_AFTER_TWO_CHECKPOINTS = """
import resource, signal
from tarkib.training import checkpoints
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
finish, done = checkpoints.finish, []
def limited(*args):
    finish(*args)
    done.append(1)
    if len(done) == 2:
        resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
checkpoints.finish = limited
import stages, stages.train
stages.run(stages.train.main)
"""


# The weights take 1.0 MB, the optimiser twice that; the one is written by safetensors and the other by torch.
@pytest.mark.parametrize("room", [900_000, 1_500_000])
def test_a_training_without_room_keeps_its_last_good_checkpoint(finished, project, room):
    folder = project("models", "plots", ".cache", "mlflow.db")
    done = run_python(folder, FULL_AFTER_TWO_CHECKPOINTS.format(room=room))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(
        r"error: .*checkpoint-3: cannot be written \(.*\); make room .* goes on from checkpoint-2", done.stderr
    )
    kept = {path.name for path in folder.glob(".cache/training/*/checkpoint-*")}
    assert kept == {"checkpoint-1", "checkpoint-2"}
    assert "going on from the checkpoint of step 2 of 4" in run_stage(folder, "train").stdout
    assert checksums(folder, "models", "plots") == checksums(finished, "models", "plots/training")
