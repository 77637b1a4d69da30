"""Figures for monitoring, in the format of Prometheus.

Times of requests are collected in each web process; `serve` names a folder in which the processes share them. All
other figures are read from the database when they are asked for, so that they hold for all processes and machines.
"""

import hmac
import os
from collections.abc import Iterator
from contextlib import suppress

from django.conf import settings
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django_q.models import Failure
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, Histogram, generate_latest, multiprocess
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from redis import RedisError

from annotate.common import task_queue
from annotate.models import Judgement, Predictor

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # read by prometheus_client
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
REQUEST_SECONDS = Histogram(
    "diffusionreward_request_seconds",
    "Time in which requests were answered. Errors are those with a status of 500 or more.",
    ("method", "route", "status"),
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


def answer(request: HttpRequest, parts: dict[str, str]) -> HttpResponse:
    """Return all figures to a client that knows the token. parts: see `annotate.web.probes.check_parts`."""
    if not settings.METRICS_TOKEN:
        return HttpResponse("Set METRICS_TOKEN to publish metrics.\n", status=404, content_type="text/plain")
    wanted = f"Bearer {settings.METRICS_TOKEN}".encode()
    if not hmac.compare_digest(request.headers.get("Authorization", "").encode(), wanted):
        return HttpResponse(
            "Send the header Authorization: Bearer METRICS_TOKEN.\n", status=401, content_type="text/plain",
            headers={"WWW-Authenticate": "Bearer"},
        )  # fmt: skip
    registry = CollectorRegistry()
    if os.environ.get(FOLDER_VARIABLE):
        multiprocess.MultiProcessCollector(registry)
    else:
        registry.register(OneProcess())
    registry.register(Parts(parts))
    if not parts["database"]:
        registry.register(Stored())
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class OneProcess(Collector):
    """The figures of this process alone, as collected by default."""

    def collect(self) -> Iterator:
        yield from REGISTRY.collect()


class Parts(Collector):
    def __init__(self, parts: dict[str, str]) -> None:
        self.parts = parts

    def collect(self) -> Iterator:
        metric = GaugeMetricFamily(
            "diffusionreward_ready", "1 if this part works, else 0; see /ready.", labels=["part"]
        )
        for name, fault in self.parts.items():
            metric.add_metric([name], 0 if fault else 1)
        yield metric


class Stored(Collector):
    """Figures from the database and the queue."""

    def collect(self) -> Iterator:
        yield CounterMetricFamily(
            "diffusionreward_answers", "Stored answers, changes and undos.", value=Judgement.objects.count()
        )
        refits = CounterMetricFamily("diffusionreward_refits", "Fitted versions of the SVM.", labels=["status"])
        counted = dict(Predictor.objects.values_list("status").annotate(Count("pk")))
        for status in Predictor.Status.values:
            refits.add_metric([status], counted.get(status, 0))
        yield refits
        workers = task_queue.live_workers()
        with suppress(RedisError):  # the part `queue` says so
            waits = task_queue.longest_wait().total_seconds()
            yield GaugeMetricFamily(
                "diffusionreward_queue_waiting", "Tasks that no worker has taken.", value=task_queue.waiting_tasks()
            )
            yield GaugeMetricFamily(
                "diffusionreward_queue_wait_seconds", "Time for which the oldest has waited.", value=waits
            )
        for name, what, value in (
            ("failed_tasks", "Failed tasks of the last FAILED_TASK_DAYS days.", Failure.objects.count()),
            ("workers", "Workers that have reported recently.", len(workers)),
            ("worker_processes", "Processes that run tasks.", sum(worker.processes for worker in workers)),
            ("worker_processes_busy", "Of these, running one.", sum(worker.busy for worker in workers)),
        ):
            yield GaugeMetricFamily(f"diffusionreward_{name}", what, value=value)
