"""Error responses outside the views: plain text for browsers, JSON for API clients."""

import errno
import sys

from django.conf import settings
from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DataError, InterfaceError, OperationalError
from django.http import BadHeaderError, HttpRequest, HttpResponse, JsonResponse
from django.middleware.csrf import REASON_BAD_ORIGIN
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views import defaults

from annotate.common import large_bodies
from annotate.common.stores import StoreUnavailable
from annotate.web.request_id import request_id

JSON_PATHS = ("/api/", "/images/")


class RefusedWithMessage(SuspiciousOperation):
    """A refusal answered with status 400, whose message is sent to the client."""


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Replace Django's page, which only says 400."""
    if isinstance(exception, RequestDataTooBig):
        return too_large(request)
    has_message = isinstance(exception, RefusedWithMessage)
    text = str(exception) if has_message else _("The request is malformed. Nothing was changed.")
    return refusal(request, 400, "malformed", text)


def too_large(request: HttpRequest) -> HttpResponse:
    if request.path_info.startswith(large_bodies.PATH):
        text = _(
            "The upload is too large, or its page is older than a day: load it again. An upload may have %(most)s MB."
        ) % {"most": f"{settings.UPLOAD_MB:,}"}
        return refusal(request, 413, "too_large", text)
    return refusal(request, 413, "too_large", _("The request is too large: the limit is one megabyte."))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Replace Django's page about a form without the token that shows that it came from this site."""
    is_origin = reason.startswith(REASON_BAD_ORIGIN.partition("%s")[0])
    return render(request, "403_csrf.html", {"is_origin": is_origin}, status=403)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path_info.startswith(JSON_PATHS):
        return refusal(request, 404, "not_found", _("There is nothing at this address."))
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """Handle an exception that no view caught. If the database fails during a commit, the client cannot know whether
    its answer was stored, and must resend it with the same key. A value that the database cannot hold is the client's
    fault."""
    error = sys.exc_info()[1]
    if _is_unstorable(error):
        return refusal(request, 400, "malformed", _("A number or a text in the request is out of range."))
    if not _is_outage(error):
        return refusal(
            request,
            500,
            "fault",
            " ".join(
                (
                    _("The server failed; the error is in the server's log under %(id)s.") % {"id": request_id.get()},
                    str(SEND_AGAIN),
                )
            ),
        )
    advice = _("Try again in a few seconds.") if request.method in ("GET", "HEAD") else str(SEND_AGAIN)
    images = isinstance(error, StoreUnavailable)
    what = _("The images are unavailable.") if images else _("The database is unavailable.")
    text = " ".join((what, advice))
    response = refusal(request, 503, "unavailable", text)
    response["Retry-After"] = "5"
    return response


SEND_AGAIN = gettext_lazy(
    "The request may already be stored. Send it again, with the same key if it has one: it counts only once."
)


def _is_outage(error: BaseException | None) -> bool:
    """Return whether the database, the disk or the bucket is unavailable, locked or full: a fault outside the
    application."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, (OperationalError, InterfaceError, StoreUnavailable))


def _is_unstorable(error: BaseException | None) -> bool:
    """Return whether a value of the request can be neither stored nor sent back.

    It is too large for the database (SQLite raises OverflowError), or a text has NUL or, for a header, a line break.
    """
    return isinstance(error, (OverflowError, DataError, BadHeaderError)) or "NUL (0x00) characters" in str(error)


def refusal(request: HttpRequest, status: int, code: str, text: str) -> HttpResponse:
    if request.path_info.startswith(JSON_PATHS):
        return JsonResponse({"code": code, "detail": text}, status=status)
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
