"""Dump a consistent state of the database to a file, on SQLite and PostgreSQL."""

import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from annotate.backup.manifest import BackupError

SUFFIXES = {"sqlite": "sqlite3", "postgresql": "pgdump"}
WAIT_SECONDS = 20  # for other connections to release their locks


class Reader:
    """Reads the tables of a dump at the moment it was taken, or of the current database. path: the dump's file."""

    def __init__(self, path: Path, cursor: Any, vendor: str) -> None:
        self.path, self.cursor, self.vendor = path, cursor, vendor

    def rows(self, sql: str) -> list[tuple]:
        self.cursor.execute(sql)
        return self.cursor.fetchall()

    def tables(self) -> set[str]:
        source = (
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            if self.vendor == "sqlite"
            else "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
        )
        return {row[0] for row in self.rows(source)}

    def count(self, table: str) -> int:
        return self.rows(f'SELECT COUNT(*) FROM "{table}"')[0][0]  # noqa: S608 - our own table


@contextmanager
def dump_to(path: Path) -> Iterator[Reader]:
    """Dump the database to `path`, and yield a reader of the dumped state. Others can read and write meanwhile."""
    path.touch(mode=0o600)  # the dump contains password hashes
    if connection.vendor == "sqlite":
        with closing(open_sqlite(sqlite_path())) as source, closing(open_sqlite(path)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")  # so that the dump is a single file
            yield Reader(path, target.cursor(), "sqlite")
        _flush(path)
        return
    program = find_program("pg_dump")
    with transaction.atomic(), connection.cursor() as cursor:
        # pg_dump and the reader share one snapshot.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT pg_export_snapshot(), current_schema()")
        snapshot, schema = cursor.fetchone()
        what = ["--format=custom", "--no-owner", "--no-privileges", f'--schema="{schema}"']
        run_program([program, *what, f"--snapshot={snapshot}", f"--file={path}"])
        yield Reader(path, cursor, "postgresql")
    _flush(path)


def sqlite_path() -> Path:
    return Path(settings.DATABASES["default"]["NAME"])


def open_sqlite(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=WAIT_SECONDS)


def run_program(command: list[str], *, with_database: bool = True) -> None:
    result = subprocess.run(  # noqa: S603 - our own command
        command,
        env=_environment() if with_database else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if result.returncode:
        name = Path(command[0]).name
        raise BackupError(f"{name} failed: {result.stderr.strip() or result.returncode}. The database was not changed.")


def _environment() -> dict[str, str]:
    """Pass the connection to the PostgreSQL programs by environment: other users can read command lines."""
    database = settings.DATABASES["default"]
    variables = {
        "PGHOST": database.get("HOST"),
        "PGPORT": database.get("PORT"),
        "PGUSER": database.get("USER"),
        "PGPASSWORD": database.get("PASSWORD"),
        "PGDATABASE": database.get("NAME"),
        **{f"PG{name.upper()}": value for name, value in database.get("OPTIONS", {}).items() if isinstance(value, str)},
    }
    return {**os.environ, **{name: str(value) for name, value in variables.items() if value}}


def find_program(name: str) -> str:
    """Find the oldest installed version that is not older than the server, so that the server can read its output."""
    found = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}")]
    if on_path := shutil.which(name):
        found.append(Path(on_path))
    if not found:
        raise BackupError(f"{name} is not installed. Install the package postgresql-client.")
    server = _server_version()
    versions = {path: _version(path) for path in found}
    compatible = [path for path in found if versions[path] >= server]
    if not compatible:
        newest = max(versions.values())
        raise BackupError(f"{name} {newest} is older than the server ({server}). Install postgresql-client-{server}.")
    return str(min(compatible, key=versions.__getitem__))


def _server_version() -> int:
    connection.ensure_connection()
    return connection.pg_version // 10000  # type: ignore[attr-defined]  # PostgreSQL only


def _version(program: Path) -> int:
    printed = subprocess.run([program, "--version"], capture_output=True, text=True).stdout  # noqa: S603
    number = re.search(r"(\d+)", printed)
    return int(number.group(1)) if number else 0


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
