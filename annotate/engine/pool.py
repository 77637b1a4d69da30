"""The engine of several workers: hands out batches, and repeats those of workers that died.

The workers are processes of this machine (`annotate.engine.local`) or actors of a Ray cluster
(`annotate.engine.ray_actors`). Both answer with futures of `concurrent.futures`.
"""

import logging
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Protocol

from annotate.engine.interface import WORKER_DIED, Batch, EngineError, Rejected, Task
from annotate.engine.worker import Started

AHEAD = 2  # batches that a worker has: the one it computes, and the next
TRIES = 2  # of a batch, then of each of its rows
MOST_FAILED_STARTS = 3  # in succession
WAIT_SECONDS = 10.0  # between two looks at whether workers can still be placed
logger = logging.getLogger(__name__)


class Worker(Protocol):
    """One worker. A future fails with one of `deaths` if the worker died; any other error is that of the task."""

    deaths: tuple[type[BaseException], ...]

    def open(self, pickled: bytes) -> "Future[Started]": ...
    def compute(self, rows: Batch) -> "Future[Sequence[Any]]": ...

    def close(self, *, kill: bool) -> None:
        """End the worker. kill: at once, without waiting for what it computes."""


@dataclass
class _Piece:
    """A batch or a part of it. tries: how many workers died of it."""

    rows: Batch
    tries: int = 0


@dataclass
class _Member:
    worker: Worker
    opening: "Future[Started]"
    place: str = ""  # empty until the task is open
    pieces: "dict[Future, _Piece]" = field(default_factory=dict)  # in the order in which they were handed out


class Pool:
    """Up to `most` workers, started as batches ask for them.

    start_worker: starts one. unplaceable: why no worker can be started now, or empty.
    """

    def __init__(
        self, start_worker: Callable[[], Worker], most: int, unplaceable: Callable[[], str] = lambda: ""
    ) -> None:
        self.start_worker, self.most, self.unplaceable = start_worker, most, unplaceable
        self.members: list[_Member] = []
        self.task = b""
        self.info: Any = None
        self.failed_starts = 0
        self.waiting: deque[_Piece] = deque()

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for member in self.members:
            member.worker.close(kill=kind is not None or not member.place)
        self.members = []

    def open(self, task: Task) -> Any:
        self.task, self.info, self.failed_starts = pickle.dumps(task), None, 0
        for member in self.members:
            member.place, member.pieces, member.opening = "", {}, member.worker.open(self.task)
        if not self.members:
            self._add_member()
        while self.info is None:
            self._wait()
        return self.info.value

    def map(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Sequence[Any]]]:
        source = iter(batches)
        self.waiting.clear()
        while True:
            self._hand_out(source)
            if not self.waiting and not any(member.pieces for member in self.members):
                return
            yield from self._wait()

    def _hand_out(self, source: Iterator[Batch]) -> None:
        """Give waiting and then new batches to the workers that have fewest, and start workers for more."""
        while True:
            ready = [member for member in self.members if member.place and len(member.pieces) < AHEAD]
            if not self.waiting and (ready or len(self.members) < self.most):
                self.waiting.extend(_Piece(batch) for batch in _next(source))
            if not self.waiting:
                return
            idle = [member for member in ready if not member.pieces]
            if not idle and len(self.members) < self.most:
                self._add_member()
            if not ready:
                return
            member = min(ready, key=lambda one: len(one.pieces))
            piece = self.waiting.popleft()
            member.pieces[member.worker.compute(piece.rows)] = piece

    def _add_member(self) -> None:
        worker = self.start_worker()
        self.members.append(_Member(worker, worker.open(self.task)))

    def _wait(self) -> Iterator[tuple[Batch, Sequence[Any]]]:
        """Wait for something to happen, and return the batches that are done."""
        futures = [future for member in self.members for future in member.pieces]
        futures += [member.opening for member in self.members if not member.place]
        done, _ = wait(futures, WAIT_SECONDS, FIRST_COMPLETED)
        if not done and not any(member.place for member in self.members) and (reason := self.unplaceable()):
            raise EngineError(reason)
        found = []
        for member in list(self.members):
            try:
                if not member.place and member.opening.done():
                    self._opened(member, member.opening.result())
                for future in list(takewhile(Future.done, member.pieces)):
                    found.append((member.pieces[future].rows, future.result()))
                    del member.pieces[future]
            except member.worker.deaths as error:
                found += self._bury(member, error)
        return iter(found)

    def _opened(self, member: _Member, started: Started) -> None:
        self.failed_starts = 0
        if self.info is None:
            self.info = _Info(started.info, started.place)
        elif self.info.value != started.info:
            raise EngineError(
                f"The workers have opened different models: {started.info} in {started.place}, but {self.info.value} "
                f"in {self.info.place}. Give all machines the same files and versions, and run the command again."
            )
        member.place = started.place

    def _bury(self, member: _Member, error: BaseException) -> list[tuple[Batch, Sequence[Any]]]:
        """Remove a worker that died, and return the rows that are given up.

        A worker computes in order, so it died of the oldest batch that it did not finish. The next ones did no harm.
        """
        self.members.remove(member)
        with suppress(*member.worker.deaths):
            member.worker.close(kill=True)
        if not member.place:
            self.failed_starts += 1
            if self.failed_starts >= MOST_FAILED_STARTS:
                raise EngineError(
                    f"{self.failed_starts} workers died while they opened the model ({_line(error)}). The machine may "
                    "have too little memory: use fewer --workers."
                ) from error
            if not self.members:
                self._add_member()
            return []
        suspect, *others = member.pieces.values() if member.pieces else (None,)
        self.waiting.extendleft(reversed(others))
        if suspect is None:
            return []
        suspect.tries += 1
        logger.warning("The worker %s died (%s).", member.place, _line(error))
        if suspect.tries < TRIES:
            self.waiting.appendleft(suspect)
        elif len(suspect.rows) > 1:
            self.waiting.extendleft(_Piece([row]) for row in reversed(suspect.rows))
        else:
            detail = f"{TRIES} workers died while they computed it ({_line(error)})"
            return [(suspect.rows, [Rejected(WORKER_DIED, detail)])]
        return []


@dataclass(frozen=True)
class _Info:
    value: Any
    place: str


def _next(source: Iterator[Batch]) -> list[Batch]:
    """Return the next batch, alone in a list; empty at the end."""
    return [batch for batch in (next(source, None),) if batch is not None]


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
