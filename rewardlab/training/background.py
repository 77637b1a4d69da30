"""One task at a time in a thread beside the training."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """Runs one task at a time. The error of a task is raised in the thread of its owner, once."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._task: Future[None] | None = None

    def start(self, task: Callable[[], None]) -> None:
        """Wait for the task before, raise its error if it failed, and start this one."""
        self.wait()
        if self._pool is None:
            # Not a daemon: the interpreter waits for it, so that an ending process does not cut off a file.
            self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="saving")
        self._task = self._pool.submit(task)

    def check(self) -> None:
        """Raise the error of a task that has ended."""
        if self._task and self._task.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the task, and raise its error."""
        if task := self._task:
            try:
                task.result()
            finally:
                if task.done():  # else Ctrl-C interrupted the waiting
                    self._task = None

    def settle(self) -> Exception | None:
        """Wait for the task, and return its error: for an owner that already reports another one."""
        try:
            self.wait()
        except Exception as error:  # noqa: BLE001 - any error of the task belongs to the message
            return error
        return None
