"""Django's SQLite backend, whose transactions wait for their turn in a queue.

SQLite lets one connection write at a time. The others sleep and retry, for up to 100 ms and in no order, so that under
load some requests wait for seconds although every transaction takes milliseconds. Here each transaction first locks a
file beside the database. The kernel wakes those who wait for it in the order in which they came, and unlocks it when
its holder ends, even by SIGKILL.

Statements outside of transactions do not queue: they wait as SQLite does. Without `fcntl` (Windows) nothing queues.
"""

import os
from typing import Any

from django.db.backends.sqlite3 import base

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

SUFFIX = "-queue"


class DatabaseWrapper(base.DatabaseWrapper):
    """A connection. Its lock's file is opened at its first transaction, and closed with the connection.

    The methods that it extends are not in the type stubs of Django.
    """

    _queue: int | None = None  # file descriptor
    _queue_of = 0  # the process that opened it: after a fork, parent and child must not share a lock
    _is_first = False

    def _start_transaction_under_autocommit(self) -> None:
        self._wait_for_turn()
        try:
            super()._start_transaction_under_autocommit()  # type: ignore[misc]
        except BaseException:
            self._end_turn()
            raise

    def _commit(self) -> Any:
        try:
            return super()._commit()  # type: ignore[misc]
        finally:
            if not self._is_in_transaction():  # a commit that failed leaves it open
                self._end_turn()

    def _rollback(self) -> Any:
        try:
            return super()._rollback()  # type: ignore[misc]
        finally:
            self._end_turn()

    def _close(self) -> Any:
        try:
            return super()._close()  # type: ignore[misc]
        finally:
            if self._queue is not None:
                os.close(self._queue)  # which unlocks it
            self._queue, self._is_first = None, False

    def _is_in_transaction(self) -> bool:
        return self.connection is not None and self.connection.in_transaction

    def _wait_for_turn(self) -> None:
        if fcntl is None or self.is_in_memory_db():
            return
        if self._queue is None or self._queue_of != os.getpid():
            path = f"{self.settings_dict['NAME']}{SUFFIX}"
            self._queue, self._queue_of = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), os.getpid()
        fcntl.flock(self._queue, fcntl.LOCK_EX)
        self._is_first = True

    def _end_turn(self) -> None:
        if self._is_first and self._queue is not None:
            self._is_first = False
            fcntl.flock(self._queue, fcntl.LOCK_UN)
