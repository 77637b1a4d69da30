"""Description of the machine, and its limits: matrix products, memory bandwidth, kernel launches."""

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version

import torch

from rewardlab.training import processes
from tests.bench.machine import matrix_peak
from tests.gpu.session import Session

PACKAGES = (
    "torch", "torchvision", "triton", "diffusers", "peft", "transformers", "accelerate", "open_clip_torch", "timm",
    "safetensors", "spandrel", "numpy", "opencv-python-headless",
)  # fmt: skip


def machine(session: Session) -> None:
    facts = {"device": "CPU", "cores": os.cpu_count(), "python": platform.python_version()}
    if session.on_gpu:
        torch.zeros(1, device=session.device)
        found = torch.cuda.get_device_properties(0)
        facts |= {
            "device": found.name,
            "memory": f"{found.total_memory / 2**30:.1f} GiB",
            "capability": f"{found.major}.{found.minor}",
            "multiprocessors": found.multi_processor_count,
            "CUDA": torch.version.cuda,
            "cuDNN": torch.backends.cudnn.version(),
            "driver": _driver(),
        }
    for name, value in (facts | {package: _version(package) for package in PACKAGES}).items():
        session.row("Description", name=name, value=value)
    peak = matrix_peak(session.device)
    session.row("Limits", name="matrix product, bf16 on a GPU, else float32 (TFLOP/s)", value=peak / 1e12)
    session.row("Limits", name="memory copy, bytes read and written (GB/s)", value=_copy_rate(session) / 1e9)
    session.row("Limits", name="kernel launches per second", value=_launch_rate(session))
    _precision(session)


def _precision(session: Session) -> None:
    """Check that auto chooses bf16 on hardware that supports it, and never on a CPU."""
    native = session.on_gpu and torch.cuda.get_device_capability(0) >= (8, 0)
    for wanted, expected in (("auto", "bf16" if native else "no"), ("fp32", "no")):
        chosen = processes.precision(wanted, session.device)
        session.check("Precision", chosen == expected, option=f"--precision {wanted}", chosen=chosen, expected=expected)


def _copy_rate(session: Session) -> float:
    source = torch.randn(2**28 if session.on_gpu else 2**22, device=session.device)
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(10):
        started = time.perf_counter()
        target.copy_(source)
        _wait(session)
        best = max(best, 2 * source.nbytes / (time.perf_counter() - started))
    return best


def _launch_rate(session: Session) -> float:
    """Return launches per second, which limit chains of small operations. A DiffBIR step launches about 1,800."""
    value, count = torch.zeros(1, device=session.device), 20_000 if session.on_gpu else 2_000
    _wait(session)
    started = time.perf_counter()
    for _ in range(count):
        value.add_(1)
    _wait(session)
    return count / (time.perf_counter() - started)


def _wait(session: Session) -> None:
    if session.on_gpu:
        torch.cuda.synchronize()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"unknown ({error})"
