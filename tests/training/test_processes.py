import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from small_training import Clips, classifier, fit, plain_mert, same, settings, weights

from tarkib.errors import TarkibError
from tarkib.runtime import program
from tarkib.runtime.cache import Cache
from tarkib.training import processes, trainer
from tarkib.training.compute import ComputeConfig
from tarkib.training.fitting import TrainingResult, train


def in_processes(build, folder: Path, spoilt: int | None = None, **options) -> TrainingResult:
    machine = ComputeConfig(devices="cpu x 2", checkpoint_steps=2)
    sets, cache = (Clips(48, 1, spoilt=spoilt), Clips(32, 2)), Cache(folder / "cache")
    return train(build, *sets, settings(accumulate=2), checkpoint_root=folder, cache=cache, machine=machine, **options)


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> TrainingResult:
    """The result of two processes without interruption."""
    return in_processes(plain_mert, tmp_path_factory.mktemp("two"))


def test_two_processes_learn_what_one_learns(tmp_path, two):
    one = fit(plain_mert(), tmp_path, data=Clips(48, 1), accumulate=2)
    assert [row["epoch"] for row in two.history] == [1, 2, 3]
    for ours, theirs in zip(two.history, one.history, strict=True):
        assert ours == pytest.approx(theirs, rel=2e-3)
    assert two.best_epoch == one.best_epoch
    for key, tensor in weights(two.model).items():
        torch.testing.assert_close(tensor, weights(one.model)[key], atol=1e-4, rtol=1e-3)
    np.testing.assert_allclose(two.validation_logits, one.validation_logits, atol=1e-3)


KILLED = """
import os, signal, sys
sys.path.insert(0, {here!r})
from pathlib import Path
from small_training import Watch, plain_mert, wait_for_checkpoints

class Kill(Watch):
    parent = os.getpid()
    def on_step_begin(self, args, *others, **options):
        super().on_step_begin(args, *others, **options)
        if self.steps[-1] == 5 and os.environ["RANK"] == "0":
            wait_for_checkpoints(Path(args.output_dir))
            launcher = os.getppid()
            os.kill({victim}, signal.SIGKILL)
            # It takes a moment to end, and with it this process, which must not train meanwhile.
            while os.getppid() == launcher:
                os.sched_yield()

if __name__ == "__main__":
    from test_processes import in_processes
    in_processes(plain_mert, Path({folder!r}), callbacks=[Kill()])
"""


@pytest.mark.parametrize("victim", ["os.getpid()", "os.getppid()"])
def test_a_killed_process_ends_all_and_the_training_resumes(tmp_path, capfd, two, victim):
    script, folder = tmp_path / "killed.py", tmp_path / "checkpoints"
    script.write_text(KILLED.format(here=str(Path(__file__).parent), victim=victim, folder=str(folder)))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    if victim == "os.getpid()":
        assert "process 0 of 2 ended with exit code -9; start again" in done.stderr
    else:
        # The pipes were closed, so every process that had them is gone.
        assert done.returncode == -signal.SIGKILL
    result = in_processes(plain_mert, folder)
    assert "going on from the checkpoint of step 4 of 9" in capfd.readouterr().out
    assert result.history == two.history
    assert same(weights(result.model), weights(two.model))


LAUNCHED = """
import os, sys
sys.path.insert(0, {here!r})
from pathlib import Path
import torch
from small_training import classifier, plain_mert, weights
from tarkib.runtime import program
from tarkib.training import processes

def main():
    if processes.work_for_first():
        return
    from test_processes import in_processes
    spoilt = {spoilt}
    result = in_processes(plain_mert if spoilt is None else classifier, Path({folder!r}), spoilt=spoilt)
    torch.save((weights(result.model), result.history), {folder!r} + f"/result-{{os.environ['RANK']}}")

if __name__ == "__main__":
    program.start()
    raise SystemExit(program.guard(main))
"""


def launch(folder: Path, spoilt: int | None = None) -> list[tuple[int, str]]:
    """Train under two launchers, as on two machines; their exit codes and what they printed."""
    script = folder / "launched.py"
    script.write_text(LAUNCHED.format(here=str(Path(__file__).parent), folder=str(folder), spoilt=spoilt))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    command += ["--master-addr", "127.0.0.1", "--master-port", port]
    launchers = [
        subprocess.Popen(
            [*command, "--node-rank", str(number), str(script)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        for number in range(2)
    ]
    printed = [launcher.communicate()[0] for launcher in launchers]
    return [(launcher.returncode, text) for launcher, text in zip(launchers, printed, strict=True)]


def test_two_launchers_on_two_machines_train_together(tmp_path, two):
    codes, printed = zip(*launch(tmp_path), strict=True)
    assert codes == (0, 0), printed
    # The first process alone reports and stores.
    assert ["epoch 3/3" in text for text in printed] == [True, False]
    assert [path.name for path in tmp_path.glob("result-*")] == ["result-0"]
    learnt, history = torch.load(tmp_path / "result-0", weights_only=False)
    assert history == two.history
    assert same(learnt, weights(two.model))


@pytest.mark.parametrize(
    "message", ["Timed out waiting 3000ms for recv operation to complete", "Connection closed by peer"]
)
def test_a_machine_that_hangs_or_is_gone_is_no_defect(monkeypatch, message):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(processes.distributed, "init_process_group", lambda *_, **__: None)
    with pytest.raises(TarkibError, match="process 1 of 2 lost another one"), processes._group():
        raise RuntimeError(f"[../gloo/transport/tcp/unbound_buffer.cc:84] {message}")


def test_an_error_under_launchers_ends_all(tmp_path):
    codes, printed = zip(*launch(tmp_path, spoilt=17), strict=True)
    assert 0 not in codes
    assert sum("error: the loss is not finite (nan) at step" in text for text in printed) == 1
    assert not any("defect of Tarkib" in text for text in printed)
    assert not list(tmp_path.glob("result-*"))


INTERRUPTED = """
import os, sys
from tarkib.runtime import program
from tarkib.training import processes

def work(model, fifo):
    file = open(fifo, "w")
    print(os.getpid(), file=file, flush=True)
    while True:
        sum(range(1_000))

if __name__ == "__main__":
    program.start()
    raise SystemExit(program.guard(lambda: processes.run(2, None, int, work, sys.argv[1])))
"""


@pytest.mark.parametrize(("send", "number"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGKILL)])
def test_an_interrupt_ends_all_processes_with_a_line(tmp_path, send, number):
    script, fifo = tmp_path / "script.py", tmp_path / "fifo"
    script.write_text(INTERRUPTED)
    os.mkfifo(fifo)
    launcher = subprocess.Popen(
        [sys.executable, str(script), str(fifo)], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with fifo.open() as pids:
        workers = [psutil.Process(int(pids.readline())) for _ in range(2)]
    send(launcher.pid, number)
    alive = psutil.wait_procs(workers, 120)[1]
    for worker in alive:
        worker.kill()
    assert not alive
    printed = launcher.communicate()[1]
    if number != signal.SIGKILL:
        assert (launcher.returncode, printed) == (128 + number, f"{program.INTERRUPTED}\n")


def test_an_error_in_a_process_keeps_its_message(tmp_path):
    with pytest.raises(TarkibError, match=r"^the loss is not finite \(nan\) at step \d of 9, clips .*clip-17"):
        in_processes(classifier, tmp_path, spoilt=17)


def late_writer():
    """A classifier; the first process writes weights only while its training waits for them."""
    if os.environ.get("RANK") == "0":
        save, wait, awaited = trainer.save_file, Future.exception, threading.Event()

        def late(*args, **options):
            awaited.wait()
            save(*args, **options)

        def exception(future, *args):
            if not future.done():
                awaited.set()
            return wait(future, *args)

        trainer.save_file, Future.exception = late, exception
    return classifier()


def test_an_error_in_a_process_leaves_the_checkpoint_that_another_writes(tmp_path):
    """The clip is the second process's in step 3; the checkpoint of step 2 is the first one."""
    with pytest.raises(TarkibError, match=r"at step 3 of 9, clips .*clip-35.*good checkpoint: .*/checkpoint-2; "):
        in_processes(late_writer, tmp_path, spoilt=35)


def defect(model):
    raise ValueError("nobody thought of this")


def test_an_unforeseen_error_is_named():
    with pytest.raises(TarkibError, match=r"unforeseen ValueError: nobody thought of this; this is a defect"):
        processes.run(2, None, int, defect)
