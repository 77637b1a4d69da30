"""The engine of one worker: the command's own process."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from annotate.engine.interface import Batch, EngineError, Opened, Task


class InProcess:
    """Computes each batch when it is asked for."""

    opened: Opened | None = None

    def __enter__(self) -> "InProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.opened = None

    def open(self, task: Task) -> Any:
        self.opened = None  # free the memory of the model before
        self.opened = task.open()
        return self.opened.info

    def map(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Sequence[Any]]]:
        if self.opened is None:
            raise EngineError("No task is open.")
        for batch in batches:
            yield batch, self.opened.compute(batch)
