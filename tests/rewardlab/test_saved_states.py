"""States that are written beside the training: what they hold, their errors, and a kill during the writing."""

import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from rewardlab.training import checkpoint, runs
from rewardlab.training.background import Background
from rewardlab.training.loop import Loop
from rewardlab.training.processes import new_accelerator
from rewardlab.training.states import SavedStates
from tests.support.servers import ROOT


def make_states(folder, size: int = 1000) -> tuple[SavedStates, nn.Linear]:
    loop = Loop(runs.open_run(folder, "run"), 9, new_accelerator("fp32", "cpu"), print, unit="images")
    model = nn.Linear(size, size)
    optimizer = torch.optim.Adam(model.parameters())
    return SavedStates(loop, {"": (model, optimizer)}, every=1, keep=2), model


def step(states: SavedStates, model: nn.Linear) -> None:
    states.before_update()
    with torch.no_grad():
        model.weight += 1
    states.loop.step += 1


def test_states_hold_the_weights_of_their_step_and_the_newest_are_kept(tmp_path):
    states, model = make_states(tmp_path)
    first = model.weight.detach()[0, 0].item()
    for _ in range(4):
        step(states, model)
    states.at_the_end()
    found = states.loop.run.states()
    assert sorted(found) == [3, 4]
    assert [load_file(found[n])["weight/weight"][0, 0].item() for n in (3, 4)] == pytest.approx([first + 3, first + 4])
    assert states.loop.saved == 4


def test_error_of_a_save_is_raised_at_a_later_step(tmp_path):
    states, model = make_states(tmp_path, size=4)
    folder = states.loop.run.state_file(0).parent
    folder.parent.mkdir(parents=True)
    folder.write_text("not a folder")
    step(states, model)
    with pytest.raises(FileExistsError):
        for _ in range(2):  # the first of these begins the save
            step(states, model)
    folder.unlink()
    states.at_the_end()
    assert sorted(states.loop.run.states()) == [states.loop.step]


def test_second_task_waits_for_the_first_and_gets_its_error():
    background, may_end, order = Background(), threading.Event(), []

    def first() -> None:
        may_end.wait()
        order.append("first")
        raise OSError("full")

    background.start(first)
    background.check()  # it still runs
    assert order == []
    may_end.set()
    with pytest.raises(OSError, match="full"):
        background.start(lambda: order.append("second"))
    background.start(lambda: order.append("third"))
    assert background.settle() is None
    assert order == ["first", "third"]


KILLED = """
import sys, time
from pathlib import Path
from tests.rewardlab.test_saved_states import make_states, step
states, model = make_states(Path(sys.argv[1]), size=3000)
states.restore()
while True:
    step(states, model)
"""


def test_kill_during_a_save_leaves_the_states_before_it(tmp_path):
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    folder = tmp_path / "run" / "states"
    partial: list = []
    while not partial or len(runs.open_run(tmp_path, "run").states()) < 1:
        assert process.poll() is None
        partial = list(folder.glob(".*.tmp"))
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shutil.copyfile(next(iter(runs.open_run(tmp_path, "run").states().values())), folder / ".000009.safetensors.0.tmp")
    states, model = make_states(tmp_path, size=3000)
    states.restore()
    assert states.loop.step == max(states.loop.run.states()) == checkpoint.saved_step(states.loop.run.checkpoint)
    assert torch.equal(load_file(states.loop.run.checkpoint)["weight/weight"], model.weight.detach())
    assert list(folder.glob(".*.tmp")) == []
