"""Refusals that no view makes: in words for people, as JSON where programs ask."""

import errno
import sys

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults

FOR_PROGRAMS = ("/api/", "/images/")


class RefusedInWords(SuspiciousOperation):
    """Answered 400; its message is for whoever sent the request."""


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """In place of Django's page that only says 400."""
    if isinstance(exception, RequestDataTooBig):
        return too_large(request)
    in_words = isinstance(exception, RefusedInWords)
    words = str(exception) if in_words else "This request is not understood, and nothing was done."
    return refusal(request, 400, "malformed", words)


def too_large(request: HttpRequest) -> HttpResponse:
    return refusal(request, 413, "too_large", "This request is too large: nothing here needs more than a megabyte.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith(FOR_PROGRAMS):
        return refusal(request, 404, "not_found", "There is nothing at this address.")
    return defaults.page_not_found(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    """The last resort, called while the exception is being handled. A database that is away comes back; whether its
    last commit was stored nobody knows, so the answer must be sent again with the same key."""
    if not _is_outage(sys.exc_info()[1]):
        return refusal(request, 500, "fault", "This is a fault of ours, and it is in the log. " + SEND_AGAIN)
    words = "The database cannot be used at this moment. "
    words += "Try again in some seconds." if request.method in ("GET", "HEAD") else SEND_AGAIN
    response = refusal(request, 503, "unavailable", words)
    response["Retry-After"] = "5"
    return response


SEND_AGAIN = (
    "Whether this request was stored is not known: send it again, with the same key if it has one; it counts once."
)


def _is_outage(error: BaseException | None) -> bool:
    """Gone, locked, full: what passes by itself or is put right outside the application."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, (OperationalError, InterfaceError))


def refusal(request: HttpRequest, status: int, code: str, words: str) -> HttpResponse:
    if request.path.startswith(FOR_PROGRAMS):
        return JsonResponse({"code": code, "detail": words}, status=status)
    return HttpResponse(words, status=status, content_type="text/plain; charset=utf-8")
