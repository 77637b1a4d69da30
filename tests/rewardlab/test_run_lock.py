"""The lock of a run: held by one process at a time, and released when that process ends."""

import os
import subprocess
import sys

import pytest

from rewardlab.training.runs import Run, RunError
from tests.support.servers import ROOT

TRAINER = """
import sys, time
from pathlib import Path
from torch.utils.data import DataLoader, Dataset
from rewardlab.training.runs import Run

class Slow(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, number):
        time.sleep(600 * number)
        return number

with Run(Path(sys.argv[1])).held():
    numbers = iter(DataLoader(Slow(), num_workers=1, multiprocessing_context="fork"))
    next(numbers)
    print(numbers._workers[0].pid, flush=True)
    next(numbers)
"""


def test_lock_of_killed_trainer_is_free_while_loader_lives(tmp_path):
    run = Run(tmp_path / "run")
    command = [sys.executable, "-c", TRAINER, str(run.folder)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as trainer:
        loader = int(trainer.stdout.readline())
        try:
            with pytest.raises(RunError, match=f"run is locked by process {trainer.pid}: wait until"), run.held():
                pass
            trainer.kill()
            trainer.wait()
            os.kill(loader, 0)  # raises unless it is alive
            with run.held():
                os.kill(loader, 0)
        finally:
            os.kill(loader, 9)


def test_lock_is_free_after_an_error_in_the_block(tmp_path):
    run = Run(tmp_path / "run")
    with pytest.raises(ZeroDivisionError), run.held():
        raise ZeroDivisionError
    with run.held(), pytest.raises(RunError, match=f"locked by process {os.getpid()}"), run.held():
        pass
