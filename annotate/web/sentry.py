"""Reports of errors to Sentry, if SENTRY_DSN is set, without personal data."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from annotate.web.request_id import request_id

KEPT = ("method",)  # of a request: its address, body, headers and cookies may hold tokens, names and answers


def start() -> None:
    """Report uncaught errors and logged errors from now on."""
    if not settings.SENTRY_DSN:
        return
    try:
        import sentry_sdk
        from sentry_sdk.utils import BadDsn
    except ImportError:
        raise ImproperlyConfigured(
            "SENTRY_DSN is set, but sentry-sdk is not installed. Run pip install sentry-sdk, or unset SENTRY_DSN."
        ) from None
    try:
        sentry_sdk.init(
            dsn=settings.SENTRY_DSN,
            environment=settings.DEPLOYMENT,
            send_default_pii=False,
            include_local_variables=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            server_name="site",
            before_send=remove_personal_data,
        )
    except BadDsn as error:
        raise ImproperlyConfigured(f"SENTRY_DSN cannot be read: {error}.") from None


def remove_personal_data(event: Any, hint: dict[str, Any]) -> Any:
    """Keep the stack and the route, and add the request id, under which the full error is in our own log."""
    request = event.get("request")
    if request:
        event["request"] = {name: request[name] for name in KEPT if name in request}
    event.pop("user", None)
    event.pop("extra", None)
    event.pop("breadcrumbs", None)
    for error in event.get("exception", {}).get("values", []):
        error["value"] = ""  # a message may quote a name, a caption or a file
    if "logentry" in event:
        event["logentry"] = {"message": event["logentry"].get("message", "")}  # without its parameters
    event.setdefault("tags", {})["request_id"] = request_id.get()
    return event
