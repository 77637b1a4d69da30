"""The settings of the log: lines for people, or JSON for programs, each with the id of its request."""

from typing import Any

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
FORMATS = ("text", "json")


def logging_settings(level: str, form: str, *, access: bool) -> dict[str, Any]:
    """Return Django's LOGGING. access: whether each request is logged."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"request_id": {"()": "annotate.web.request_id.RequestIdFilter"}},
        "formatters": {
            "text": {
                "format": "{asctime} {levelname} {name} [{request_id}]: {message}",
                "datefmt": "%Y-%m-%d %H:%M:%S%z",
                "style": "{",
            },
            "json": {
                "()": "pythonjsonlogger.json.JsonFormatter",
                "fmt": "%(levelname)s %(name)s %(process)d %(message)s %(request_id)s",
                "rename_fields": {"levelname": "level", "name": "logger"},
                "timestamp": "time",
            },
        },
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": form, "filters": ["request_id"]}},
        "root": {"handlers": ["console"], "level": level},
        "loggers": {
            "annotate.access": {"level": "INFO" if access else "CRITICAL"},
            "waitress.queue": {"level": "ERROR"},  # it warns whenever a request waits for a thread
        },
    }
