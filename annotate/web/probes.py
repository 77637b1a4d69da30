"""/health, /ready and /metrics, for machines.

They are answered before everything else: without a session, over HTTP too, and under any host name, since monitoring
asks by address.
"""

import shutil
from collections.abc import Callable

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from redis import RedisError

from annotate.common import stores, task_queue
from annotate.models import Job
from annotate.web import metrics

LONGEST_WAIT = 60  # seconds of a task in the queue while a process is free
UNKNOWN = "unknown, since the database is unavailable"
PATHS = ("/health", "/ready", "/metrics")


def answer_probes(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        if request.path_info not in PATHS:
            return get_response(request)
        response = _answer(request)
        response["Cache-Control"] = "no-store"
        response["Content-Length"] = len(response.content)
        return response

    return middleware


def _answer(request: HttpRequest) -> HttpResponse:
    if request.method not in ("GET", "HEAD"):
        return JsonResponse({"status": "use GET"}, status=405, headers={"Allow": "GET, HEAD"})
    parts = check_parts()
    if request.path_info == "/metrics":
        return metrics.answer(request, parts)
    works = not any(parts.values())
    return JsonResponse(
        {"status": "ok" if works else "impaired", "parts": {name: fault or "ok" for name, fault in parts.items()}},
        # A web process that answers is alive, whatever else is wrong: restarting it would not help.
        status=503 if request.path_info == "/ready" and not works else 200,
    )


def check_parts() -> dict[str, str]:
    """Return part -> what is wrong with it; empty if it works."""
    faults = {"database": _database()}
    try:
        faults |= {"worker": _worker(), "queue": _queue(), "jobs": _jobs()}
    except DatabaseError:
        faults |= {"worker": UNKNOWN, "queue": UNKNOWN, "jobs": UNKNOWN}
        faults["database"] = faults["database"] or "has no tables: run manage.py migrate"
    return faults | {"disk": _disk(), "media": _media()}


def _database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return "unavailable"
    return ""


def _worker() -> str:
    return "" if task_queue.live_workers() else "no worker has reported in the last 45 seconds"


def _queue() -> str:
    try:
        waits = task_queue.longest_wait().total_seconds()
    except RedisError:
        return "Redis is unavailable"
    workers = task_queue.live_workers()
    free = not workers or any(worker.busy < worker.processes for worker in workers)
    return f"a task has been waiting for {waits:.0f} seconds" if waits > LONGEST_WAIT and free else ""


def _jobs() -> str:
    """Name the first queue of jobs in which a job has been waiting although no process works on it."""
    for queue in Job.Queue.values:
        waiting = Job.objects.filter(queue=queue, state=Job.State.QUEUED).order_by("queued_at").first()
        if waiting and not task_queue.live_workers(queue):
            seconds = (timezone.now() - waiting.queued_at).total_seconds()
            if seconds > LONGEST_WAIT:
                return f"a job of queue {queue} has been waiting for {seconds:.0f} seconds, and no process runs them"
    return ""


def _disk() -> str:
    for name, folder in (("DATA_ROOT", settings.DATA_ROOT), ("MEDIA_ROOT", settings.MEDIA_ROOT)):
        if folder.exists() and (free := shutil.disk_usage(folder).free // 1_000_000) < settings.LEAST_FREE_MB:
            return f"{free} MB are free in {name}"
    return ""


def _media() -> str:
    return stores.store("images").fault()
