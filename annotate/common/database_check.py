"""A check of the database server's settings, run by `migrate` and `serve`."""

from collections.abc import Iterable
from typing import Any

from django.core.checks import CheckMessage, Error
from django.db import DatabaseError, connections

ENCODING_HINT = (
    "Create a database in UTF8 and set DATABASE_URL to it: CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0. "
    "An existing one is converted by pg_dump and a restore into the new one."
)


def check_server(*, databases: Iterable[str] | None = None, **options: Any) -> list[CheckMessage]:
    """Refuse a PostgreSQL database that cannot hold every text, or whose dates the driver cannot read."""
    return [fault for alias in databases or () for fault in _faults(alias)]


def _faults(alias: str) -> Iterable[CheckMessage]:
    connection = connections[alias]
    try:
        with connection.cursor() as cursor:
            if connection.vendor != "postgresql":
                return
            values = []
            for setting in ("server_encoding", "DateStyle", "IntervalStyle"):
                cursor.execute("SELECT current_setting(%s)", [setting])
                values += cursor.fetchone()
            encoding, dates, intervals = values
    except DatabaseError as error:
        yield Error(
            f"The database is unavailable: {error}", hint="Check DATABASE_URL and the server.", id="annotate.E001"
        )
        return
    if encoding != "UTF8":
        yield Error(
            f"The database's encoding is {encoding}, which cannot store every caption and name.",
            hint=ENCODING_HINT, id="annotate.E002",
        )  # fmt: skip
    for setting, value, wanted in (("DateStyle", dates, "ISO"), ("IntervalStyle", intervals, "postgres")):
        if value.split(",")[0] != wanted:
            yield Error(
                f"The database's {setting} is {value}, which the driver cannot read.",
                hint=f"Run: ALTER DATABASE name SET {setting} = '{wanted}' (or ALTER ROLE for the site's user), "
                "and connect again.",
                id="annotate.E003",
            )
