"""django-q's processes, which take tasks from the queue, with reports to the supervisor and to the database.

They pass tasks through pipes with locks. A process that is killed while it holds a lock stops all others for ever, so
the whole worker ends when one of them dies unexpectedly, or when tasks wait although a process is free. The supervisor
then starts a new worker. Tasks may safely run twice.
"""

import logging
import os
import signal
import time
import uuid
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from types import FrameType

from django import db
from django.utils import timezone
from django_q.cluster import Sentinel
from django_q.tasks import async_task
from redis import RedisError

from annotate import tasks
from annotate.common import task_queue
from annotate.common.lifeline import Lifeline, describe_end, kill_own_group
from annotate.common.task_queue import worker_name
from annotate.models import WorkerHeartbeat
from annotate.predictor import refit_requests

logger = logging.getLogger(__name__)
BEAT_SECONDS = 5
HEARTBEAT_SECONDS = 10
WAIT_SECONDS = 10  # of a task in the queue, which is polled three times a second
STUCK_SECONDS = 30
# Without a task, after which the processes are replaced, to give back the memory that their tasks took.
QUIET_SECONDS = 60
DAY_SECONDS = 86_400
IDLE, RECYCLED = -1, -2  # django-q's values of a process's timer


class TaskProcesses(Sentinel):
    """The parent of the processes that run tasks."""

    def __init__(self, lifeline: Lifeline) -> None:
        duties = [
            Duty(BEAT_SECONDS, lifeline.beat),
            Duty(0, self.follow_tasks),
            Duty(HEARTBEAT_SECONDS, self.report),
            Duty(HEARTBEAT_SECONDS, self.recover_lost_tasks),
            Duty(DAY_SECONDS, queue_pruning),
        ]
        super().__init__(Turn(duties), Turn([]), uuid.uuid4(), start=False)
        self.used_at: float | None = None  # when a task last ran in the present processes
        self.pipes = Patience(f"Tasks or results have waited for {STUCK_SECONDS} seconds although a process is free.")
        self.queue = Patience(f"Tasks in the queue have not been taken for {STUCK_SECONDS} seconds.")

    def run(self) -> None:
        """Run tasks until SIGTERM or SIGINT. Raises an error of the database or of Redis if they are unavailable."""
        others = [worker for worker in task_queue.live_workers() if worker.name != worker_name()]
        tasks.queue_leftover_work(alone=not others)
        # The processes ignore SIGINT, and end at SIGTERM, which django-q sends after a task's time limit.
        os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.broker.ping()
        self.spawn_cluster()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        self.guard()
        WorkerHeartbeat.objects.filter(name=worker_name()).delete()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.stop_event.set()

    def reincarnate(self, process: BaseProcess) -> None:
        """Replace a process that ended by itself. If it was killed, the whole worker ends, see above."""
        if code := process.exitcode:
            kill_own_group(f"Process {process.pid} of the worker {describe_end(code)} and may have held a lock.")
        if process in self.pool and process.timer.value == IDLE:  # type: ignore[attr-defined]  # set by django-q
            process.timer.value = RECYCLED  # type: ignore[attr-defined]  # by `follow_tasks`
        super().reincarnate(process)

    def follow_tasks(self) -> None:
        """End the worker if tasks are stuck, and replace processes that have been idle for a while."""
        idle = [process.timer.value == IDLE for process in self.pool]
        self.pipes.observe(bool((any(idle) and self.task_queue.qsize()) or self.result_queue.qsize()))
        if not all(idle):
            self.used_at = time.monotonic()
        elif self.used_at and time.monotonic() - self.used_at > QUIET_SECONDS:
            self.used_at = None
            for _ in self.pool:
                self.task_queue.put("STOP")  # the process that takes it ends

    def report(self) -> None:
        """Store a heartbeat, and end the worker if it takes no tasks from the queue."""
        busy = sum(process.timer.value != IDLE for process in self.pool)
        now = timezone.now()
        fields = {"started_at": self.tob, "at": now, "processes": len(self.pool), "busy": busy}
        WorkerHeartbeat.objects.update_or_create(name=worker_name(), defaults=fields)
        waits = task_queue.longest_wait().total_seconds() > WAIT_SECONDS
        self.queue.observe(busy < len(self.pool) and waits)

    def recover_lost_tasks(self) -> None:
        if number := task_queue.release_abandoned_tasks():
            logger.warning("%d tasks of a worker that has ended are run again.", number)
        # While a task runs, it may be that refit, which can take longer than `refitting.REFITTING_FOR`.
        idle = not any(worker.busy for worker in task_queue.live_workers())
        if idle and refit_requests.request_lost_refit():
            logger.info("A lost refit is queued again.")


def queue_pruning() -> None:
    async_task("annotate.tasks.prune", group="prune", task_name="delete old rows")


class Duty:
    """Something that the worker does at intervals. An unavailable database or Redis does not end the worker."""

    def __init__(self, seconds: float, action: Callable[[], None]) -> None:
        self.seconds, self.action = seconds, action
        self.due = 0.0

    def do_if_due(self) -> None:
        if time.monotonic() < self.due:
            return
        self.due = time.monotonic() + self.seconds
        try:
            db.close_old_connections()
            self.action()
        except (db.Error, RedisError) as error:
            logger.error("%s failed and is repeated in %g seconds: %s", self.action.__name__, self.seconds, error)


class Turn:
    """A flag in place of django-q's events, whose `wait` does the duties: `guard` calls it in every turn of its loop.

    Unlike an event, it may be set by a signal handler at any moment.
    """

    def __init__(self, duties: list[Duty]) -> None:
        self.duties = duties
        self.parent = os.getppid()
        self.flag = False

    def set(self) -> None:
        self.flag = True

    def is_set(self) -> bool:
        return self.flag

    def wait(self, seconds: float) -> bool:
        if os.getppid() != self.parent:
            kill_own_group("The supervisor has ended.")
        for duty in self.duties:
            duty.do_if_due()
        time.sleep(seconds)
        return self.flag


class Patience:
    """Ends the worker when something has been wrong for `STUCK_SECONDS` without a break."""

    def __init__(self, message: str) -> None:
        self.message = message
        self.since: float | None = None

    def observe(self, wrong: bool) -> None:
        if not wrong:
            self.since = None
            return
        now = time.monotonic()
        self.since = self.since or now
        if now - self.since > STUCK_SECONDS:
            kill_own_group(self.message)
