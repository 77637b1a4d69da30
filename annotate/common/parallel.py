"""A function applied to many elements by several threads, in order."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from annotate.common import image_store

Input = TypeVar("Input")
Output = TypeVar("Output")

MOST_THREADS = 8  # a decoded photograph of 50 megapixels takes 150 MB, and is held twice


def in_threads(function: Callable[[Input], Output], elements: Iterable[Input]) -> Iterator[Output]:
    """Yield the results in the order of the elements. An exception of the function is raised.

    For decoding, encoding, hashing and OpenCV, which release the interpreter's lock. A bucket is waited for, so it gets
    more threads. The function must not use the database, whose connections belong to one thread.
    """
    threads = min(usable_cores(), MOST_THREADS) if image_store.is_local() else image_store.READS_AT_ONCE
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(function, elements)


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
