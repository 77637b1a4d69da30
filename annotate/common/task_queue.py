"""The queue of background tasks: how long tasks wait, and which workers report."""

import hashlib
import socket
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone
from django_q.brokers import get_broker
from django_q.models import OrmQ
from django_q.signing import BadSignature, SignedPackage

from annotate.models import WorkerHeartbeat

ALIVE_FOR = timedelta(seconds=45)  # after its last heartbeat; workers report every 10 seconds


def live_workers(queue: str = WorkerHeartbeat.TASKS) -> list[WorkerHeartbeat]:
    """Return the workers of this queue that have reported recently."""
    return list(WorkerHeartbeat.objects.filter(queue=queue, at__gt=timezone.now() - ALIVE_FOR))


def worker_name(queue: str = "") -> str:
    """Return a name for this machine and data folder, which run at most one worker of a queue (see `site_lock`)."""
    folder = hashlib.sha256(str(settings.DATA_ROOT.resolve()).encode()).hexdigest()
    return f"{socket.gethostname()[:80]} {folder[:8]} {queue}".rstrip()


def waiting_tasks() -> int:
    """Return the number of tasks that no worker has taken."""
    return get_broker().queue_size()


def longest_wait() -> timedelta:
    """Return how long the oldest task has been waiting for a worker; zero if none waits."""
    since = _redis_waits_since() if settings.BROKER_URL else _database_waits_since()
    return max(timedelta(0), timezone.now() - since) if since else timedelta(0)


def _database_waits_since() -> datetime | None:
    """django-q sets `lock` to the present when it stores a task, and to a later time when a worker takes it."""
    waiting = OrmQ.objects.filter(key=settings.Q_CLUSTER["name"], lock__lte=timezone.now())
    return waiting.order_by("lock").values_list("lock", flat=True).first()


def _redis_waits_since() -> datetime | None:
    broker = get_broker()
    oldest = broker.connection.lindex(broker.list_key, 0)
    try:
        return SignedPackage.loads(oldest)["started"] if oldest else None
    except BadSignature:
        return None  # of another site; the worker drops it


def release_abandoned_tasks() -> int:
    """Make tasks available again that were taken by workers which have ended. Return their number.

    A task is abandoned if it was taken before every live worker started. With Redis, taken tasks are not in the queue.
    """
    workers = live_workers()
    if settings.BROKER_URL or not workers:
        return 0
    retry = timedelta(seconds=settings.Q_CLUSTER["retry"])
    oldest_start = min(worker.started_at for worker in workers)
    taken = OrmQ.objects.filter(key=settings.Q_CLUSTER["name"], lock__gt=timezone.now())
    return taken.filter(lock__lt=oldest_start + retry).update(lock=timezone.now())
