"""Workers that are processes of this machine, each with a `ProcessPoolExecutor` of its own.

A pool that loses one process fails all its futures, so a pool for all workers could not tell whose batch was at fault.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from typing import Any

from annotate.engine import worker
from annotate.engine.interface import Batch


class LocalWorker:
    """A process that is started anew, since a forked one cannot use CUDA."""

    deaths: tuple[type[BaseException], ...] = (BrokenProcessPool,)

    def __init__(self, given: worker.Surroundings) -> None:
        self.pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=worker.prepare_process, initargs=(given,)
        )
        self.pid = self._submit(os.getpid)

    def open(self, pickled: bytes) -> "Future[worker.Started]":
        return self._submit(worker.open_task, pickled)

    def compute(self, rows: Batch) -> "Future[Sequence[Any]]":
        return self._submit(worker.compute, rows)

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> "Future[Any]":
        try:
            return self.pool.submit(function, *arguments)
        except BrokenProcessPool as error:  # it died a moment ago
            failed: Future[Any] = Future()
            failed.set_exception(error)
            return failed

    def close(self, *, kill: bool) -> None:
        if kill and self.pid.done() and not self.pid.exception():
            with suppress(ProcessLookupError):
                os.kill(self.pid.result(), signal.SIGKILL)
        self.pool.shutdown(wait=True, cancel_futures=True)
