"""A lock on a stage, so that two people who start it at once do not compute everything twice.

It ends with its process, even if that is killed. PostgreSQL keeps it in a session of its own; beside an SQLite
database, which one machine uses, it is a file.
"""

import os
import socket
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone
from filelock import FileLock, Timeout

SPACE = 0x5354  # the first number of our advisory locks
LONGEST_HOST = 20  # PostgreSQL keeps 63 bytes of an application's name
# Seconds after which the server asks whether the client still exists, between two questions, and their number.
KEEP_ALIVE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}
HELD = """
SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class StageIsRunning(Exception):
    """Another process runs the stage. The message names it."""


@contextmanager
def stage_lock(*names: str) -> Iterator[None]:
    """Lock these stages until the end of the block, or of the process. Raises `StageIsRunning`."""
    lock = _in_postgres if connection.vendor == "postgresql" else _in_files
    with lock(sorted(set(names))):
        yield


def _holder() -> str:
    host = socket.gethostname()[:LONGEST_HOST]
    return f"{host}, process {os.getpid()}, since {timezone.now():%Y-%m-%d %H:%M} UTC"


def _refusal(name: str, holder: str) -> StageIsRunning:
    return StageIsRunning(
        f"The stage {name} is running already ({holder or 'holder unknown'}). Wait until it has ended, or stop it; "
        "then run the same command to do the rest."
    )


@contextmanager
def _in_postgres(names: list[str]) -> Iterator[None]:
    session = connection.copy()  # not the connection of the queries, which may be closed and opened again
    try:
        with session.cursor() as cursor:
            cursor.execute("SELECT set_config('application_name', %s, false)", [_holder()])
            for setting, value in KEEP_ALIVE.items():
                cursor.execute("SELECT set_config(%s, %s, false)", [setting, str(value)])
            for name in names:
                key = [SPACE, zlib.crc32(name.encode()) & 0x7FFFFFFF]
                cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", key)
                if not cursor.fetchone()[0]:
                    cursor.execute(HELD, key)
                    raise _refusal(name, (cursor.fetchone() or [""])[0])
        yield
    finally:
        with suppress(DatabaseError), session.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock_all()")  # the server closes a session a little later
        session.close()


@contextmanager
def _in_files(names: list[str]) -> Iterator[None]:
    with ExitStack() as locks:
        for name in names:
            # In a separate file, since a locked file cannot be read on Windows.
            holder = _file(name, "holder")
            try:
                locks.enter_context(FileLock(_file(name, "lock"), timeout=0))
            except Timeout:
                raise _refusal(name, holder.read_text() if holder.exists() else "") from None
            holder.write_text(_holder())
            locks.callback(holder.unlink, missing_ok=True)
        yield


def _file(name: str, suffix: str) -> Path:
    """Return a file beside the database, or in DATA_ROOT for a database in memory."""
    database = Path(str(connection.settings_dict["NAME"]))
    folder = database.parent if database.is_file() else Path(settings.DATA_ROOT)
    return folder / f".stage-{quote(name, safe='')}.{suffix}"
