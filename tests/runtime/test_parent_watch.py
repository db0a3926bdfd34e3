"""Workers that end with what started them; tests/pipeline/test_kills.py has the stages."""

import os
import subprocess
import sys

import psutil
import pytest

WITHIN_S = 120.0  # what is waited for comes in a second

# Each item makes a file that names its process, then waits for ever.
LOADING = """
import os, sys
from torch.utils.data import DataLoader
from tarkib.runtime import parent_watch

class Slow:
    def __len__(self):
        return 2

    def __getitem__(self, index):
        fifo = os.open(sys.argv[1], os.O_WRONLY)
        os.write(fifo, f"{os.getpid()}\\n".encode())
        while True:
            sum(range(1_000))

list(DataLoader(Slow(), num_workers=2, worker_init_fn=parent_watch.end_loader_with_parent))
"""


@pytest.mark.slow
def test_processes_that_load_data_end_with_a_killed_training(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    training = subprocess.Popen([sys.executable, "-c", LOADING, str(tmp_path / "fifo")], stderr=subprocess.DEVNULL)
    with (tmp_path / "fifo").open() as fifo:
        workers = [psutil.Process(int(fifo.readline())) for _ in range(2)]
    training.kill()
    training.wait(WITHIN_S)
    left = psutil.wait_procs(workers, WITHIN_S)[1]
    for process in left:
        process.kill()
    assert not left


def test_a_stage_that_has_lost_its_dvc_before_it_looked_ends_too():
    """As where DVC is killed while the interpreter starts."""
    code = "input(); from tarkib.runtime import parent_watch; parent_watch.watch_dvc(); input()"
    read, write = os.pipe()
    shell = subprocess.run(
        ["sh", "-c", 'exec 3<&0; "$0" -c "$1" <&3 >/dev/null & echo $!', sys.executable, code],
        env={**os.environ, "DVC_STAGE": "slice"},
        stdin=read,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    stage = psutil.Process(int(shell.stdout))
    os.write(write, b"go on\n")
    left = psutil.wait_procs([stage], WITHIN_S)[1]
    os.close(write)
    os.close(read)
    assert not left
