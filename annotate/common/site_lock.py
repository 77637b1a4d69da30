"""A lock on the data of a site, so that one machine serves them once."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection
from filelock import FileLock, Timeout

PARTS = ("web", "worker", "training")


class SiteIsRunning(Exception):
    """Another process serves the same data. The message names it."""


@contextmanager
def site_lock(address: str, parts: tuple[str, ...] = PARTS) -> Iterator[bool]:
    """Lock these parts of the site until the end of the block, or of the process. Raises `SiteIsRunning`.

    Yields whether the last holder was killed, so that its processes may still be ending. address: shown to whoever is
    refused.
    """
    with ExitStack() as locks:
        killed = False
        for part in parts:
            lock = FileLock(_file(part, "lock"), timeout=0)
            try:
                locks.enter_context(lock)
            except Timeout:
                raise SiteIsRunning(_refusal(part)) from None
            # In a separate file, since a locked file cannot be read on Windows.
            holder = _file(part, "holder")
            killed |= holder.exists()
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}, {address}")
            locks.callback(holder.unlink, missing_ok=True)
        yield killed


def _refusal(part: str) -> str:
    holder = _file(part, "holder")
    name = holder.read_text() if holder.exists() else "another process"
    what = {"web": "serves", "worker": "runs the background tasks of", "training": "runs the trainings of"}[part]
    return f"{name[:1].upper()}{name[1:]} already {what} the data in {settings.DATA_ROOT}."


def _file(part: str, suffix: str) -> Path:
    """Return the path of a lock. Machines that share a folder and a PostgreSQL server may each serve the site, but two
    machines cannot share an SQLite database."""
    settings.DATA_ROOT.mkdir(parents=True, exist_ok=True)
    machine = "" if connection.vendor == "sqlite" else f"-{socket.gethostname()}"
    return settings.DATA_ROOT / f".serve-{part}{machine}.{suffix}"
