"""Loading a training's images in other processes, ahead of the step that needs them.

What is loaded is an iterable of lists of items, a function of seed and step, so neither the number of processes nor an
interruption changes it.
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

AHEAD = 4  # micro-batches that each process has ready
WORKERS_OF_GPU = 4


def worker_count(wanted: int, device: torch.device, *, on_cpu: int) -> int:
    """Return the number of loading processes. wanted: -1 for `WORKERS_OF_GPU` with a GPU, else `on_cpu`."""
    return wanted if wanted >= 0 else (WORKERS_OF_GPU if device.type == "cuda" else on_cpu)


def load(
    dataset: Dataset[Any],
    plan: Iterable[list[Any]],
    collate: Callable[[list[Any]], Any],
    *,
    workers: int,
    device: torch.device,
) -> Iterator[Any]:
    """Load the micro-batches of `plan` in order.

    dataset: has `__getitems__` for a list of items. workers: 0 loads each when it is needed. For a GPU the batches are
    in pinned memory, from which copies do not block; they need a method `pin_memory`.
    """
    return iter(
        DataLoader(
            dataset,
            batch_sampler=plan,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            prefetch_factor=AHEAD if workers else None,
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # else torch's global generator would be advanced
        )
    )


def _start_worker(number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes, but the step in progress is finished
    cv2.setNumThreads(0)  # the threads of the parent's OpenCV do not exist here
