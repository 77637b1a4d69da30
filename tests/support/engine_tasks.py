"""Tasks of an engine that tests can disturb. Workers import them."""

import os
import signal
import time
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from annotate.engine.interface import Opened


@dataclass(frozen=True)
class Double:
    """Doubles numbers, and writes its process into `folder`.

    deadly: a number at which the process is killed, every time, or only if `once` is a file that is not there yet.
    """

    folder: Path
    deadly: int = -1
    once: Path | None = None
    seconds: float = 0.0

    def open(self) -> Opened:
        (self.folder / f"{os.getpid()}.pid").touch()
        return Opened(self.compute, "doubles")

    def compute(self, rows: Any) -> list[int]:
        time.sleep(self.seconds)
        if self.deadly in rows and not (self.once and self.once.exists()):
            if self.once:
                self.once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return [2 * row for row in rows]


@dataclass(frozen=True)
class Query:
    """Asks the database, which a worker does not have."""

    def open(self) -> Opened:
        from annotate.models import Face

        return Opened(lambda rows: [Face.objects.count()])


@dataclass(frozen=True)
class Held:
    """Another task, of which each worker computes one batch when `workers` have opened it, and waits for `go` then."""

    task: Any
    folder: Path
    workers: int

    def open(self) -> Opened:
        opened = self.task.open()
        (self.folder / f"{os.getpid()}.pid").touch()
        calls = count()

        def compute(rows: Any) -> Any:
            while len(list(self.folder.glob("*.pid"))) < self.workers:
                time.sleep(0.05)
            while next(calls) and not (self.folder / "go").exists():
                time.sleep(0.05)
            return opened.compute(rows)

        return Opened(compute, opened.info)
