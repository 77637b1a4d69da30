"""The database's settings from DATABASE_URL."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

EXAMPLE = "postgres://user:password@host/name"
ENCODE = "Write such characters in the URL as % and two digits: # as %23, ? as %3F, / as %2F, @ as %40, % as %25."
CONNECT_SECONDS = 10


def database(url: str, folder: Path) -> dict[str, Any]:
    """Return Django's settings. An empty URL is the SQLite database in this folder."""
    if not url:
        return _sqlite(str(folder / "db.sqlite3"))
    if url.startswith("sqlite:"):
        return _sqlite(_sqlite_path(url))
    return _postgres(url)


def _sqlite_path(url: str) -> str:
    """Return the path in sqlite:///PATH. Unlike in a web address, + is a plus."""
    path = url.removeprefix("sqlite://")
    if path in ("", "/", ":memory:", "/:memory:"):
        return ":memory:"
    if not path.startswith("/"):
        raise ImproperlyConfigured("DATABASE_URL has a wrong path: write sqlite:////folder/file, with four slashes.")
    if "?" in path or "#" in path:
        raise ImproperlyConfigured(f"DATABASE_URL contains ? or #. {ENCODE}")
    return unquote(path[1:])


def _sqlite(path: str) -> dict[str, Any]:
    return {
        "ENGINE": "annotate.common.sqlite",
        "NAME": path,
        "TEST": {"NAME": ":memory:"},  # as for Django's own backend, which test runners know by its name
        "OPTIONS": {
            # Writers queue instead of failing, and readers never wait. FULL, not NORMAL: an acknowledged label must
            # survive a power cut.
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=FULL;",
        },
    }


def _postgres(url: str) -> dict[str, Any]:
    try:
        parts = urlsplit(url)
        scheme, port = parts.scheme, parts.port
        found = environ.Env.db_url_config(url)
    except ValueError:
        # Without the error's text, which may contain the password.
        raise ImproperlyConfigured(f"DATABASE_URL cannot be read. It must look like {EXAMPLE}. {ENCODE}") from None
    if "ENGINE" not in found:
        raise ImproperlyConfigured(f"DATABASE_URL is not a database URL. Set it to one such as {EXAMPLE}.")
    if not found["ENGINE"].endswith(".postgresql"):
        raise ImproperlyConfigured(f"DATABASE_URL names {scheme}, which is not supported. Use PostgreSQL or SQLite.")
    if parts.fragment or "@" in parts.query or "@" in parts.path:
        raise ImproperlyConfigured(f"DATABASE_URL contains #, ? or / in the user or password. {ENCODE}")
    if not found["NAME"]:
        raise ImproperlyConfigured(f"DATABASE_URL names no database. It must look like {EXAMPLE}.")
    # The library reads + as a space, which is right in a query only.
    found |= {"USER": unquote(parts.username or ""), "PASSWORD": unquote(parts.password or ""), "PORT": port or ""}
    found["OPTIONS"] = {"connect_timeout": CONNECT_SECONDS} | found.get("OPTIONS", {})
    return {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True} | found
