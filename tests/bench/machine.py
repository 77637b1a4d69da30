"""Descriptions of the machine, and measurements that several benchmarks share."""

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path


def describe(*packages: str) -> dict:
    """Return the CPU, the system, and the versions of Python and of these packages."""
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return p50, p95 and p99 in milliseconds."""
    ordered = sorted(seconds)
    return {
        f"p{percent}": round(1000 * ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))], 2)
        for percent in (50, 95, 99)
    }


def matrix_peak(device: str) -> float:
    """Return FLOP/s of a large matrix product in training precision (bf16 on a GPU, else float32), the best of ten."""
    import torch

    on_gpu = device.startswith("cuda")
    size = 8192 if on_gpu else 2048
    a, b = (torch.randn(size, size, device=device, dtype=torch.bfloat16 if on_gpu else torch.float32) for _ in range(2))
    best = 0.0
    for _ in range(10):
        started = time.perf_counter()
        a @ b
        if on_gpu:
            torch.cuda.synchronize()
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best
