"""Refusals in words, one shape for all: {"code": ..., "detail": ...}."""

from typing import Any

from django.db import IntegrityError
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import exception_handler

from annotate.services.refusals import Refused

FORBIDDEN = {"not_a_member"}
MALFORMED = {"malformed"}
NOT_FOUND = {"no_such_lease"}


def status_of(refused: Refused) -> int:
    if refused.code in FORBIDDEN:
        return status.HTTP_403_FORBIDDEN
    if refused.code in MALFORMED:
        return status.HTTP_400_BAD_REQUEST
    return status.HTTP_404_NOT_FOUND if refused.code in NOT_FOUND else status.HTTP_409_CONFLICT


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    if isinstance(error, Refused):
        return Response({"code": error.code, "detail": error.message}, status=status_of(error))
    if isinstance(error, IntegrityError):
        detail = "Another request did this at the same moment. Nothing of this one was stored; send it again."
        return Response({"code": "conflict", "detail": detail}, status=status.HTTP_409_CONFLICT)
    return exception_handler(error, context)
