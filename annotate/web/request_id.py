"""The id of the request that is being answered, in every line of the log."""

import logging
from contextvars import ContextVar

from django.http import HttpRequest

NONE = "-"
request_id: ContextVar[str] = ContextVar("request_id", default=NONE)


def route_of(request: HttpRequest) -> str:
    """Return the pattern of the request's address: the address itself may contain a token."""
    return f"/{request.resolver_match.route}" if request.resolver_match else "(none)"


class RequestIdFilter(logging.Filter):
    """Adds the id to every record, and replaces addresses in Django's own records by their patterns."""

    def filter(self, record: logging.LogRecord) -> bool:
        fields = vars(record)
        request = fields.pop("request", None)
        current = request_id.get()
        if isinstance(request, HttpRequest):
            current = getattr(request, "request_id", current)  # Django logs a response after all middleware has run
            if isinstance(record.args, tuple):
                record.args = tuple(route_of(request) if one == request.path else one for one in record.args)
        fields["request_id"] = current
        return True
