"""The queue of background tasks runs our own functions only, and unpickles no foreign classes.

django-q2 would run any function that a task names, by whatever way the task came into the queue: the API, a schedule,
a row that someone wrote into the database. Its payloads are signed with SECRET_KEY, but schedules are not, and it
signs what they name. The arguments and results of finished tasks are pickles without a signature, which it loads
after every task. Hence the three restrictions here.
"""

import io
import logging
import pickle
from typing import Any

import picklefield.fields
from django_q import signing
from django_q.brokers.orm import ORM

logger = logging.getLogger(__name__)

NAMES = ("refit_predictor", "search_parameters", "prepare_demo", "prune", "check_upload")
TASKS = frozenset(f"annotate.tasks.{name}" for name in NAMES)
REMEDY = "Only functions listed in annotate/common/allowed_tasks.py run in the background, without hooks or chains."
# What a task consists of besides strings, numbers, lists and dictionaries: the time at which it was queued.
CLASSES = {("datetime", "datetime"), ("datetime", "timezone"), ("datetime", "timedelta")}


class NotOurTask(ValueError):
    """A task names a function that may not run in the background."""


def require_ours(task: Any) -> None:
    """Raise `NotOurTask` unless the task runs one of our functions, and nothing after it."""
    fields = task if isinstance(task, dict) else {"func": task}
    function = fields.get("func")
    if not isinstance(function, str) or function not in TASKS:
        raise NotOurTask(f"The background task {function!r:.200} was refused. {REMEDY}")
    for extra in ("hook", "chain"):
        if fields.get(extra):
            raise NotOurTask(f"The {extra} {fields[extra]!r:.200} of the task {function} was refused. {REMEDY}")


class OurTasks:
    """Check tasks when they enter the queue, and again when they leave it, since others can write to its store."""

    def enqueue(self, task: str) -> Any:
        require_ours(signing.SignedPackage.loads(task))
        return super().enqueue(task)  # type: ignore[misc]  # the broker beside this class

    def dequeue(self) -> list[tuple[Any, Any]]:
        return [one for one in super().dequeue() or () if self._is_ours(*one)]  # type: ignore[misc]

    def _is_ours(self, ack_id: Any, payload: Any) -> bool:
        """Return whether the task may run; if not, remove it from the queue."""
        try:
            require_ours(signing.SignedPackage.loads(payload))
        except (NotOurTask, signing.BadSignature) as error:
            logger.error("A task was removed from the queue: %s", error)
            self.fail(ack_id)  # type: ignore[attr-defined]
            return False
        return True


class DatabaseQueue(OurTasks, ORM):
    """The queue in the database."""


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in CLASSES:
            return super().find_class(module, name)
        raise signing.BadSignature(f"it contains {module}.{name}, which no task of ours does")


def load_plain(data: bytes) -> Any:
    """Unpickle strings, numbers, lists, dictionaries and times. Raises `BadSignature` for anything else."""
    return _PlainUnpickler(io.BytesIO(data)).load()


def restrict_pickles() -> None:
    """Make django-q2 load nothing but plain values. A result that is anything else is shown as stored."""
    signing.PickleSerializer.loads = staticmethod(load_plain)
    picklefield.fields.loads = load_plain
