"""Dump a consistent state of the database to a file and restore it atomically, on SQLite and PostgreSQL."""

import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction

SUFFIXES = {"sqlite": "sqlite3", "postgresql": "pgdump"}
WAIT_SECONDS = 20  # for other connections to release their locks


class BackupError(RuntimeError):
    """Backup or recovery failed; the message says why and what to do."""


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
        with closing(_open_sqlite(_sqlite_path())) as source, closing(_open_sqlite(path)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")  # so that the dump is a single file
            yield Reader(path, target.cursor(), "sqlite")
        _flush(path)
        return
    program = _program("pg_dump")
    with transaction.atomic(), connection.cursor() as cursor:
        # pg_dump and the reader share one snapshot.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT pg_export_snapshot()")
        snapshot = cursor.fetchone()[0]
        _run([program, "--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", f"--file={path}"])
        yield Reader(path, cursor, "postgresql")
    _flush(path)


@contextmanager
def current_database() -> Iterator[Reader]:
    """Yield a reader of the current database."""
    with connection.cursor() as cursor:
        yield Reader(Path(), cursor, connection.vendor)


def check_dump(dump: Path) -> None:
    """Raise `BackupError` if the dump is damaged, or a program to restore it is missing. The database is unchanged."""
    if connection.vendor == "sqlite":
        with closing(sqlite3.connect(f"{dump.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as opened:
            check_integrity(Reader(dump, opened.cursor(), "sqlite"))
    else:
        _run([_program("pg_restore"), "--list", str(dump)], with_database=False)
        _program("psql")


def check_integrity(database: Reader) -> None:
    """Raise `BackupError` if a SQLite database is damaged or violates a foreign key."""
    if database.vendor != "sqlite":
        return  # PostgreSQL checks constraints during the restore
    try:
        faults = [row for row in database.rows("PRAGMA integrity_check") if row[0] != "ok"]
        faults += database.rows("PRAGMA foreign_key_check")
    except sqlite3.DatabaseError as error:
        raise BackupError(f"The database in {database.path} is damaged ({error}). Use another backup.") from error
    if faults:
        raise BackupError(f"The database in {database.path} is damaged: {faults[0]}. Use another backup.")


def restore(dump: Path) -> None:
    """Replace the database by the dump, in one transaction."""
    connection.close()
    if connection.vendor == "sqlite":
        _replace_sqlite(dump)
    else:
        _replace_postgres(dump)


def _sqlite_path() -> Path:
    return Path(settings.DATABASES["default"]["NAME"])


def _open_sqlite(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=WAIT_SECONDS)


def _replace_sqlite(dump: Path) -> None:
    with closing(_open_sqlite(dump)) as source, closing(_open_sqlite(_sqlite_path())) as target:
        target.execute("PRAGMA synchronous=FULL")
        try:
            source.backup(target)
        except sqlite3.OperationalError as error:
            raise BackupError(f"The database is in use ({error}). Stop the site first. Nothing was changed.") from error


DROP_ALL = r"""
SET lock_timeout = '{seconds}s';
DO $$
DECLARE thing record;
BEGIN
  FOR thing IN
    SELECT c.oid::regclass AS name,
           CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                          ELSE 'TABLE' END AS kind
    FROM pg_class c
    WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
      AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('e', 'i', 'a'))
    ORDER BY c.relkind DESC
  LOOP
    EXECUTE format('DROP %s IF EXISTS %s CASCADE', thing.kind, thing.name);
  END LOOP;
  FOR thing IN
    SELECT p.oid::regprocedure AS name FROM pg_proc p
    WHERE p.pronamespace = current_schema()::regnamespace
      AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
  LOOP
    EXECUTE format('DROP ROUTINE IF EXISTS %s CASCADE', thing.name);
  END LOOP;
END $$;
"""


def _replace_postgres(dump: Path) -> None:
    """Drop all tables, then run the dump's SQL. `--clean` would keep newer code's tables, which break `migrate`."""
    with tempfile.TemporaryDirectory() as folder:
        # Write a file first: psql would commit a partial script if a pipe broke.
        script = Path(folder) / "restore.sql"
        pg_restore = [_program("pg_restore"), "--no-owner", "--no-privileges", f"--file={script}", str(dump)]
        _run(pg_restore, with_database=False)
        psql = [_program("psql"), "--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1"]
        _run([*psql, f"--command={DROP_ALL.format(seconds=WAIT_SECONDS)}", f"--file={script}"])


def _run(command: list[str], *, with_database: bool = True) -> None:
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


def _program(name: str) -> str:
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
