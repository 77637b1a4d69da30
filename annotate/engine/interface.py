"""What a stage gives to an engine, and what it gets back. All of it is plain data that can be pickled."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Batch = Sequence[Any]
WORKER_DIED = "worker_died"  # the reason of rows that an engine gave up


class EngineError(RuntimeError):
    """An engine cannot be used, or its workers cannot be started. The message says why and what to do."""


@dataclass(frozen=True)
class Rejected:
    """The result of a row that has none: a reason (a slug) and a readable detail."""

    reason: str
    detail: str


@dataclass(frozen=True)
class Opened:
    """A task whose model is loaded. compute: one result for each row, or `Rejected`. info: what the driver must know of
    the model, as plain data that is equal on all workers."""

    compute: Callable[[Batch], Sequence[Any]]
    info: Any = None


class Task(Protocol):
    """A description of the model and its options. Each worker opens it once."""

    def open(self) -> Opened:
        """Load the model. Its errors are raised again in the driver."""
        ...


class Engine(Protocol):
    """A context manager that holds the workers."""

    def __enter__(self) -> "Engine": ...
    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None: ...

    def open(self, task: Task) -> Any:
        """Let the workers open a task, in place of the one before, and return its `Opened.info`."""
        ...

    def map(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Sequence[Any]]]:
        """Yield each batch with its results, one for each row, as they are computed: not always in the given order.

        A batch whose worker died is computed again, in the end row by row. It then comes back as several batches.
        """
        ...
