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

list(DataLoader(Slow(), num_workers=2, worker_init_fn=parent_watch.follow_loader))
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
