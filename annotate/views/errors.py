"""Refusals that no view makes: in words for people, as JSON where programs ask."""

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
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


def refusal(request: HttpRequest, status: int, code: str, words: str) -> HttpResponse:
    if request.path.startswith(FOR_PROGRAMS):
        return JsonResponse({"code": code, "detail": words}, status=status)
    return HttpResponse(words, status=status, content_type="text/plain; charset=utf-8")
