"""Seconds that a restorer needs for an image (Table 14), one image at a time."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from refl.restorers import open_restorer
from refl.restorers.spec import Restorer, Subject
from rewardlab.training.cost_meter import CostMeter, device_name


@dataclass(frozen=True)
class Timing:
    """The median over images, and the range. peak_memory: bytes, of the process or of torch on the GPU."""

    restorer: str
    seconds: float
    fastest: float
    slowest: float
    images: int
    side: int
    device: str
    peak_memory: int | None


def measure(
    name: str, images: Sequence[tuple[Tensor, Subject]], *, device: str, root: Path, warm_up: int = 1, **options: Any
) -> Timing:
    """Open a restorer and time it. images: (1, 3, S, S), at least one. The first `warm_up` are restored untimed first.

    options: of `open_restorer`. Raises what that raises.
    """
    meter = CostMeter(None, torch.device(device), 1)
    opened = open_restorer(name, device=device, run_root=root, **options)
    for lq, subject in images[:warm_up]:
        opened.restore(lq, [subject])
    seconds = [_timed(opened, lq, subject, device) for lq, subject in images]
    return Timing(
        restorer=name,
        seconds=statistics.median(seconds),
        fastest=min(seconds),
        slowest=max(seconds),
        images=len(seconds),
        side=images[0][0].shape[-1],
        device=device_name(torch.device(device)),
        peak_memory=meter.cost().peak_memory,
    )


def _timed(opened: Restorer, lq: Tensor, subject: Subject, device: str) -> float:
    wait: Callable[[], object] = torch.cuda.synchronize if device.startswith("cuda") else lambda: None
    wait()
    since = time.perf_counter()
    opened.restore(lq, [subject])
    wait()
    return time.perf_counter() - since


def encoded(found: Sequence[Timing]) -> list[dict[str, Any]]:
    return [asdict(timing) for timing in found]
