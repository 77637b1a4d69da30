"""What a training costs on this machine: time, devices and memory, summed over its starts."""

import os
import platform
import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

from rewardlab.training.run_schema import Cost

PROCESS_STATUS, PEAK_RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class CostMeter:
    """Meter of the main process. It counts from its creation, and adds the cost of earlier starts of the run.

    Memory is that of the main process: allocated by torch on a GPU, resident otherwise.
    """

    def __init__(self, before: Cost | None, device: torch.device, devices: int) -> None:
        self.before, self.device, self.devices = before, device, devices
        self.since = time.monotonic()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            _reset_resident_peak()

    def cost(self) -> Cost:
        seconds, peak = time.monotonic() - self.since, self._peak_memory()
        device_hours = seconds * self.devices / 3600
        if self.before:
            seconds += self.before.seconds or 0.0
            device_hours += self.before.device_hours or 0.0
            peak = max(peak or 0, self.before.peak_memory or 0) or None
        return Cost(
            seconds=round(seconds, 1),
            device_hours=round(device_hours, 4),
            devices=self.devices,
            device=device_name(self.device),
            peak_memory=peak,
        )

    def _peak_memory(self) -> int | None:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return _resident_peak()


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or the number of cores of the processor."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    return f"{device.type.upper()} ({platform.machine()}, {cores} cores)"


def _reset_resident_peak() -> None:
    """Start the peak anew, so that it does not include earlier work of this process. Only Linux can."""
    with suppress(OSError):
        PEAK_RESET.write_text("5")


def _resident_peak() -> int | None:
    """Return the peak of the process's resident memory in bytes; None where the system does not tell it."""
    try:
        lines = PROCESS_STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)
