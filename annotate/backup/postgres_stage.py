"""The stage of a PostgreSQL site: a schema beside the current one."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from django.db import DatabaseError, connection, transaction
from django.db.backends.signals import connection_created

from annotate.backup import staging
from annotate.backup.database_dump import find_program, run_program
from annotate.backup.manifest import BackupError

SCHEMA = "diffusionreward_recovering"
COPY = re.compile(r'COPY (?P<schema>"?[^".\s]+"?)\.(?P<table>"?[^".\s]+"?) \((?P<columns>[^()]*)\) FROM stdin;')
OURS = ("annotate_", "auth_", "django_", *(f"{app}_" for app in staging.REMOVED_APPS))
END = b"\\.\n"
ENCODING = re.compile(rb"SET client_encoding = '(\w+)';\n")

OTHERS = """
SELECT COALESCE(NULLIF(application_name, ''), 'unnamed'), COALESCE(client_addr::text, 'this machine')
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
# Tables, views and functions of a schema, without those of extensions, and without what moves with its table.
OBJECTS = """
SELECT CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, c.relname, format('%%I.%%I', n.nspname, c.relname)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v')
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')
UNION ALL
SELECT 'FUNCTION', p.proname, p.oid::regprocedure::text
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = %s AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
"""


class PostgresStage(staging.Stage):
    def __init__(self) -> None:
        super().__init__()
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_schema(), current_database(), current_user")
            self.schema, self.database, self.user = cursor.fetchone()

    def create(self) -> None:
        _require_alone()
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")  # of a recovery that was killed
            self._create_schema(cursor, SCHEMA)
        connection.close()
        connection_created.connect(_use_stage)

    def _create_schema(self, cursor: Any, name: str) -> None:
        try:
            cursor.execute(f"CREATE SCHEMA {name}")
        except DatabaseError as error:
            raise BackupError(
                f"A schema cannot be created beside the current one ({str(error).splitlines()[0]}). "
                f'As the owner of the database, run: GRANT CREATE ON DATABASE "{self.database}" TO "{self.user}"'
            ) from error

    def copy_rows(self, dump: Path) -> None:
        known = self.columns()
        with tempfile.TemporaryDirectory() as folder:
            script = Path(folder) / "rows.sql"
            options = ["--data-only", "--no-owner", "--no-privileges", f"--file={script}"]
            run_program([find_program("pg_restore"), *options, str(dump)], with_database=False)
            # The script is read for its rows, and never run: it could contain any statement.
            with script.open("rb") as file, transaction.atomic(), connection.cursor() as cursor:
                _copy(cursor, file, known)
                cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
                _reset_sequences(cursor, known)

    def take_place(self, kept_as: str) -> str:
        self._use_current()
        kept = kept_as.replace("-", "_").lower() or f"{SCHEMA}_earlier"
        with transaction.atomic(), connection.cursor() as cursor:
            _require_alone()
            cursor.execute(f"SET LOCAL lock_timeout = '{staging.WAIT_SECONDS}s'")
            self._create_schema(cursor, kept)
            _move(cursor, self.schema, kept, prefixes=OURS)
            _move(cursor, SCHEMA, self.schema)
            cursor.execute(f"DROP SCHEMA {SCHEMA}")
            if not kept_as:
                cursor.execute(f"DROP SCHEMA {kept} CASCADE")
        self.is_current = True
        return f"in the schema {kept}: run DROP SCHEMA {kept} CASCADE when you no longer need it" if kept_as else ""

    def _use_current(self) -> None:
        connection_created.disconnect(_use_stage)
        connection.close()

    def leave(self) -> None:
        self._use_current()
        if not self.is_current:
            with connection.cursor() as cursor:
                cursor.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")


def _use_stage(connection: Any, **kwargs: Any) -> None:
    """Let every new connection see the stage alone."""
    with connection.cursor() as cursor:
        cursor.execute(f"SET search_path TO {SCHEMA}")


def _require_alone() -> None:
    """Raise `BackupError` while others are connected to the database."""
    with connection.cursor() as cursor:
        cursor.execute(OTHERS)
        others = cursor.fetchall()
    if others:
        named = ", ".join(sorted({f"{name} on {address}" for name, address in others}))
        raise BackupError(
            f"The database is in use by {len(others)} other connections ({named}). Stop the site on every machine, and "
            "close other programs that use the database. Nothing was changed."
        )


def _copy(cursor: Any, script: BinaryIO, known: dict[str, list[str]]) -> None:
    """Copy the rows of the script into the tables of the stage."""
    seen: set[str] = set()
    for line in script:
        if (encoding := ENCODING.fullmatch(line)) and encoding[1] != b"UTF8":
            raise BackupError(f"The dump's encoding is {encoding[1].decode()}, not UTF8. Use another backup.")
        found = COPY.fullmatch(line.decode(errors="replace").rstrip("\n")) if line.startswith(b"COPY ") else None
        if found is None:
            continue
        table = found["table"].strip('"')
        rows = _rows(script)
        if staging.is_left_out(table) or (table not in known and next(rows, None) is None):
            for _ in rows:
                pass
            continue
        if table not in known or table in seen:
            raise staging.unknown_table(f"{found['schema']}.{table}")
        seen.add(table)
        columns = [name.strip().strip('"') for name in found["columns"].split(",")]
        staging.require_same_columns(table, known[table], columns)
        quoted = ", ".join(map(connection.ops.quote_name, columns))
        name = f"{SCHEMA}.{connection.ops.quote_name(table)}"
        cursor.execute(f"DELETE FROM {name}")  # noqa: S608 - what a migration put into our own table
        with connection.wrap_database_errors, cursor.copy(f"COPY {name} ({quoted}) FROM STDIN") as copy:
            for row in rows:
                copy.write(row)


def _rows(script: BinaryIO) -> Iterator[bytes]:
    for line in script:
        if line == END:
            return
        yield line
    raise BackupError("The dump is incomplete. Use another backup.")


def _reset_sequences(cursor: Any, known: dict[str, list[str]]) -> None:
    """Let new rows get numbers after those of the dump."""
    for table, columns in known.items():
        if "id" in columns:
            cursor.execute("SELECT pg_get_serial_sequence(%s, 'id')", [f"{SCHEMA}.{connection.ops.quote_name(table)}"])
            if sequence := cursor.fetchone()[0]:
                name = f"{SCHEMA}.{connection.ops.quote_name(table)}"
                cursor.execute(f"SELECT setval(%s, COALESCE(MAX(id), 1), MAX(id) IS NOT NULL) FROM {name}", [sequence])  # noqa: S608


def _move(cursor: Any, source: str, target: str, prefixes: tuple[str, ...] = ("",)) -> None:
    """Move tables, views and functions whose names begin with one of the prefixes to another schema."""
    cursor.execute(OBJECTS, [source, source])
    for kind, name, qualified in cursor.fetchall():
        if name.startswith(prefixes):
            cursor.execute(f"ALTER {kind} {qualified} SET SCHEMA {connection.ops.quote_name(target)}")
