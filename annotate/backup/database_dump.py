"""A whole database to a file and back, on SQLite and PostgreSQL: as it was at one moment, and all of it or nothing."""

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

ENDINGS = {"sqlite": "sqlite3", "postgresql": "pgdump"}
WAIT_SECONDS = 20  # for others to let go of the database


class Fault(RuntimeError):
    """Cannot be backed up or recovered; the message says why and what to do."""


class Copy:
    """Reads what went into a copy, or is in the database now."""

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
        return self.rows(f'SELECT COUNT(*) FROM "{table}"')[0][0]  # noqa: S608 - a table of ours


@contextmanager
def copy_of(path: Path) -> Iterator[Copy]:
    """Copy the database to `path` and read what went into the copy. Others go on reading and writing meanwhile."""
    path.touch(mode=0o600)  # it holds hashes of passwords
    if connection.vendor == "sqlite":
        with closing(_open_sqlite(_sqlite_path())) as source, closing(_open_sqlite(path)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")  # one file, that needs none beside it
            yield Copy(path, target.cursor(), "sqlite")
        _flush(path)
        return
    program = _program("pg_dump")
    with transaction.atomic(), connection.cursor() as cursor:
        # The dump and what is counted here see the same moment.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SELECT pg_export_snapshot()")
        moment = cursor.fetchone()[0]
        _run([program, "--format=custom", "--no-owner", "--no-privileges", f"--snapshot={moment}", f"--file={path}"])
        yield Copy(path, cursor, "postgresql")
    _flush(path)


@contextmanager
def now() -> Iterator[Copy]:
    """Read the database as it is."""
    with connection.cursor() as cursor:
        yield Copy(Path(), cursor, connection.vendor)


def require_sound(dump: Path) -> None:
    """Look into a dump without touching the database."""
    if connection.vendor == "sqlite":
        with closing(sqlite3.connect(f"{dump.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as opened:
            require_whole(Copy(dump, opened.cursor(), "sqlite"))
    else:
        _run([_program("pg_restore"), "--list", str(dump)], with_database=False)
        _program("psql")


def require_whole(copy: Copy) -> None:
    if copy.vendor != "sqlite":
        return  # constraints were checked as they were made
    try:
        faults = [row for row in copy.rows("PRAGMA integrity_check") if row[0] != "ok"]
        faults += copy.rows("PRAGMA foreign_key_check")
    except sqlite3.DatabaseError as error:
        raise Fault(f"The database in {copy.path} is damaged ({error}).") from error
    if faults:
        raise Fault(f"The database in {copy.path} is damaged: {faults[0]}.")


def replace(dump: Path) -> None:
    """Put the dump in the place of the database, in one transaction."""
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
            raise Fault(f"The database is in use ({error}): stop the site first. Nothing was changed.") from error


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
    """Tables that only newer code has must go as well, or the next `migrate` would meet them: hence not `--clean`."""
    with tempfile.TemporaryDirectory() as place:
        # To a file first: what psql read from a pipe that broke, it would commit.
        script = Path(place) / "restore.sql"
        restore = [_program("pg_restore"), "--no-owner", "--no-privileges", f"--file={script}", str(dump)]
        _run(restore, with_database=False)
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
        raise Fault(f"{name} failed, and nothing was changed: {result.stderr.strip() or result.returncode}")


def _environment() -> dict[str, str]:
    """How the programs of PostgreSQL find the database: never on the command line, which others can read."""
    named = settings.DATABASES["default"]
    given = {
        "PGHOST": named.get("HOST"),
        "PGPORT": named.get("PORT"),
        "PGUSER": named.get("USER"),
        "PGPASSWORD": named.get("PASSWORD"),
        "PGDATABASE": named.get("NAME"),
        **{f"PG{name.upper()}": value for name, value in named.get("OPTIONS", {}).items() if isinstance(value, str)},
    }
    return {**os.environ, **{name: str(value) for name, value in given.items() if value}}


def _program(name: str) -> str:
    """The oldest of the installed versions that is not older than the server: what it writes, the server reads."""
    found = [*Path("/usr/lib/postgresql").glob(f"*/bin/{name}")]
    if on_path := shutil.which(name):
        found.append(Path(on_path))
    if not found:
        raise Fault(f"{name} is not installed: install the package postgresql-client.")
    server = _server_version()
    versions = {path: _version(path) for path in found}
    fitting = [path for path in found if versions[path] >= server]
    if not fitting:
        newest = max(versions.values())
        raise Fault(f"{name} is version {newest} and the server is {server}: install postgresql-client-{server}.")
    return str(min(fitting, key=versions.__getitem__))


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
