"""An id for each request, a line for it in the access log, and its time for /metrics."""

import logging
import re
import time
import uuid
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from annotate.web import metrics
from annotate.web.probes import PATHS
from annotate.web.request_id import request_id, route_of

access_log = logging.getLogger("annotate.access")
HEADER = "X-Request-ID"
GIVEN = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)


def observe_requests(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Keep the id that a proxy gave the request, or make one, and return it in the response."""

    def middleware(request: HttpRequest) -> HttpResponse:
        given = request.headers.get(HEADER, "")
        identity = given if GIVEN.fullmatch(given) else uuid.uuid4().hex[:16]
        request.request_id = identity  # type: ignore[attr-defined]  # read by `RequestIdFilter`
        reset = request_id.set(identity)
        started = time.perf_counter()
        try:
            response = get_response(request)
            response[HEADER] = identity
            _record(request, response.status_code, time.perf_counter() - started)
        finally:
            request_id.reset(reset)
        return response

    return middleware


def _record(request: HttpRequest, status: int, seconds: float) -> None:
    probe = request.path_info in PATHS
    route = request.path_info if probe else route_of(request)
    if request.path.startswith(settings.STATIC_URL):
        route = settings.STATIC_URL
    method = request.method if request.method in metrics.METHODS else "other"
    metrics.REQUEST_SECONDS.labels(method, route, str(status)).observe(seconds)
    if probe and status < 400:
        return  # monitoring asks every few seconds
    user = getattr(request, "_cached_user", None)  # set by Django if the view asked for it
    access_log.info(
        "%s %s %d in %d ms", method, route, status, 1000 * seconds,
        extra={
            "method": method, "route": route, "status": status, "milliseconds": round(1000 * seconds, 1),
            "user_id": user.pk if user else None,
        },
    )  # fmt: skip
