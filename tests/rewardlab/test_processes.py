"""Devices and precision of a training, and what its processes exchange."""

import os
import subprocess
import sys

import pytest
import torch
from accelerate.state import AcceleratorState

from rewardlab.training import processes
from rewardlab.training.loop import TrainError
from rewardlab.training.processes import new_accelerator, precision
from tests.support.servers import ROOT


@pytest.fixture(autouse=True)
def fresh_accelerate():
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def test_training_uses_the_named_device_and_the_next_one_another():
    assert new_accelerator("fp32", "meta").device == torch.device("meta")
    assert new_accelerator("fp32", "cpu").device == torch.device("cpu")


def test_bf16_is_refused_where_the_hardware_has_none():
    assert (precision("auto", "cpu"), precision("fp32", "cpu")) == ("no", "no")
    with pytest.raises(TrainError, match=r"bf16 needs compute capability 8\.0, but cpu is not an NVIDIA GPU"):
        precision("bf16", "cpu")


@pytest.mark.parametrize(("variable", "name"), processes.UNSUPPORTED.items())
def test_launchers_that_divide_the_weights_are_refused_by_name(monkeypatch, variable, name):
    monkeypatch.setenv(variable, "true")
    with pytest.raises(TrainError, match=f"configured for {name}.*accelerate launch --multi_gpu"):
        processes.start("cpu")


AVERAGE = """
import torch
from rewardlab.training import processes
processes.BUCKET_BYTES = 100  # several buckets
accelerator = processes.new_accelerator("fp32", "cpu")
rank = accelerator.process_index
parameters = [torch.nn.Parameter(torch.zeros(n, 3)) for n in (1, 20, 2, 2)]
for number, parameter in enumerate(parameters[:3]):
    parameter.grad = torch.full_like(parameter, float((rank + 1) * (number + 1)))
processes.average_gradients(accelerator, parameters)
assert [parameter.grad.unique().tolist() for parameter in parameters] == [[1.5], [3.0], [4.5], [0.0]]
try:
    processes.start("cuda:1")
except processes.TrainError as error:
    assert "names one GPU for 2 processes" in str(error)
else:
    raise AssertionError("accepted")
accelerator.end_training()
"""


def test_gradients_of_two_processes_are_averaged_in_buckets(tmp_path):
    script = tmp_path / "average.py"
    script.write_text(AVERAGE)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(script)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
