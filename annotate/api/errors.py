"""Error responses, all of one shape: {"code": ..., "detail": ...}."""

from typing import Any

from django.db import IntegrityError
from rest_framework import exceptions, status
from rest_framework.response import Response
from rest_framework.views import exception_handler

from annotate.common.refusals import Refused, status_of


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    if isinstance(error, Refused):
        return Response({"code": error.code, "detail": error.message}, status=status_of(error))
    if isinstance(error, IntegrityError):
        detail = "Another request made the same change at the same time. Nothing was stored; send the request again."
        return Response({"code": "conflict", "detail": detail}, status=status.HTTP_409_CONFLICT)
    return _in_one_shape(error, exception_handler(error, context))


def _in_one_shape(error: Exception, response: Response | None) -> Response | None:
    """Convert the framework's own error responses. For a malformed body, `faults` lists the errors by field."""
    if response is None:
        return None
    if isinstance(error, exceptions.ValidationError):
        fields = response.data if isinstance(response.data, dict) else {"non_field_errors": response.data}
        name, faults = next(iter(fields.items()))
        fault = faults[0] if isinstance(faults, list) and faults else faults
        response.data = {"code": "malformed", "detail": f"{name}: {fault}", "faults": fields}
    else:
        codes = error.get_codes() if isinstance(error, exceptions.APIException) else None
        named = codes if isinstance(codes, str) else "not_found" if response.status_code == 404 else "refused"
        response.data = {"code": named, "detail": response.data["detail"]}
    return response
