"""Environment variables, read with a message that names the variable."""

from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import environ
from django.core.exceptions import ImproperlyConfigured

OFF = ("off", "false", "no", "n", "f", "0")


class Environment(environ.Env):
    def get_value(self, var: str, cast: Any = None, default: Any = environ.Env.NOTSET, parse_default: bool = False):
        """Read a variable. An empty one counts as not set."""
        written = self.ENVIRON.get(var, "").strip()
        if not written and default is not self.NOTSET:
            return default
        if cast is bool and written.lower() not in (*self.BOOLEAN_TRUE_STRINGS, *OFF):
            raise ImproperlyConfigured(f"{var} is {written!r}; use on or off.")
        try:
            return super().get_value(var, cast=cast, default=default, parse_default=parse_default)
        except ValueError as error:
            kind = "a whole number" if cast is int else f"of type {getattr(cast, '__name__', cast)}"
            raise ImproperlyConfigured(f"{var} is {self.ENVIRON[var]!r}, which is not {kind}.") from error


env = Environment()


def whole_number(name: str, value: int, least: int = 0) -> int:
    """Return the value of a variable, or refuse one that is too small."""
    if value < least:
        raise ImproperlyConfigured(f"{name} is '{value}'; use a whole number from {least}.")
    return value


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> str:
    """Return the value of a variable, or refuse it with those that are allowed."""
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} is {value!r}; use {', '.join(allowed[:-1])} or {allowed[-1]}.")
    return value


def url_prefix(value: str) -> str:
    """Return a path prefix with a slash before it and none behind it; empty if the site is at the root."""
    prefix = "/" + value.strip("/") if value.strip("/") else ""
    if any(character in prefix for character in "?#% ") or "//" in prefix:
        raise ImproperlyConfigured(f"URL_PREFIX is {value!r}. Set it to a path such as /faces.")
    return prefix


def time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ImproperlyConfigured(f"TIME_ZONE is {name!r}. Set it to a name such as Europe/Berlin or UTC.") from None
    return name
