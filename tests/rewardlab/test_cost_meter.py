"""Tests of what a training records about its cost."""

import torch
from accelerate import Accelerator

from rewardlab.training.cost_meter import CostMeter
from rewardlab.training.loop import Loop
from rewardlab.training.run_schema import Cost
from rewardlab.training.runs import Run

CPU = torch.device("cpu")
HOUR = Cost(seconds=3600.0, device_hours=4.0, devices=4, device="NVIDIA H200", peak_memory=10**14)


def test_cost_adds_earlier_starts_and_keeps_the_higher_peak():
    found = CostMeter(HOUR, CPU, 2).cost()
    assert 3600 <= found.seconds < 3700 and 4.0 <= found.device_hours < 4.1
    assert (found.devices, found.peak_memory) == (2, 10**14)
    assert found.device.startswith("CPU") and not found.is_gpu and HOUR.is_gpu


def test_peak_memory_is_of_this_training_only():
    large = torch.zeros(50_000_000)  # 200 MB
    before = CostMeter(None, CPU, 1).cost().peak_memory
    del large
    after = CostMeter(None, CPU, 1).cost().peak_memory
    assert before is None or before - after > 100_000_000


def test_resumed_training_goes_on_counting(tmp_path):
    run = Run(tmp_path / "tuned")
    run.folder.mkdir()
    (run.folder / "config.json").write_text('{"kind": "refl", "created": "2026-01-01T00:00:00+00:00"}')
    run.write_status("stopped", step=3, total=9, cost=HOUR)
    loop = Loop(run, 9, Accelerator(cpu=True), lambda progress: None, unit="images")
    loop.write_status("running")
    assert run.status().cost.seconds >= 3600 and run.status().cost.device_hours >= 4.0
