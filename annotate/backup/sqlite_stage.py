"""The stage of an SQLite site: a file beside the database."""

import os
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from django.db import connection, transaction

from annotate.backup import database_dump, staging
from annotate.backup.manifest import BackupError

ROWS = 5_000  # read and written at once
LOCK_SECONDS = 3  # for others to finish with the database
IN_USE = "The database is in use ({}). Stop the site and every other command first. Nothing was changed."


class SqliteStage(staging.Stage):
    def __init__(self) -> None:
        super().__init__()
        self.place = database_dump.sqlite_path().resolve()
        self.file = self.place.with_name(f".{self.place.name}.recovering")

    def create(self) -> None:
        self._delete()  # of a recovery that was killed
        self._use(self.file)
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA synchronous = OFF")  # it is flushed as a whole before it takes its place

    def _use(self, file: Path) -> None:
        connection.close()
        connection.settings_dict["NAME"] = str(file)

    def copy_rows(self, dump: Path) -> None:
        _check(dump)
        known = self.columns()
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA foreign_keys = OFF")  # checked afterwards, since tables refer to one another
            with closing(_open(dump)) as source, transaction.atomic():
                _copy(source, cursor, known)
            cursor.execute("PRAGMA foreign_key_check")
            if fault := cursor.fetchone():
                raise BackupError(
                    f"A row of table {fault[0]} refers to a missing row of {fault[2]}. Use another backup."
                )
            cursor.execute("PRAGMA foreign_keys = ON")

    def take_place(self, kept_as: str) -> str:
        self._use(self.place)
        with closing(database_dump.open_sqlite(self.file)) as finished:
            finished.execute("PRAGMA journal_mode=DELETE")  # so that it is a single file
        _flush(self.file)
        kept = self.place.with_name(f"{self.place.stem}.{kept_as}{self.place.suffix}")
        with closing(sqlite3.connect(self.place, timeout=LOCK_SECONDS)) as current:
            _lock(current)
            if kept_as:
                os.link(self.place, kept)
            self.file.replace(self.place)
            _flush(self.place.parent)
        self.is_current = True
        return f"in {kept}: delete this file when you no longer need it" if kept_as else ""

    def leave(self) -> None:
        self._use(self.place)
        self._delete()

    def _delete(self) -> None:
        for suffix in ("", "-wal", "-shm", "-journal", "-queue"):
            with suppress(FileNotFoundError):
                self.file.with_name(self.file.name + suffix).unlink()


def _open(dump: Path) -> sqlite3.Connection:
    """Open a dump for reading alone. What its schema defines may call no function that is not harmless."""
    opened = sqlite3.connect(f"{dump.absolute().as_uri()}?mode=ro&immutable=1", uri=True)
    opened.execute("PRAGMA trusted_schema = OFF")
    return opened


def _copy(source: sqlite3.Connection, target: Any, known: dict[str, list[str]]) -> None:
    """Copy the rows of all tables of a dump into the tables of the stage."""
    for table, sql in source.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
        if staging.is_left_out(table) or table.startswith("sqlite_"):
            continue
        if not str(sql).upper().startswith("CREATE TABLE"):
            raise staging.unknown_table(table)  # a virtual table runs code when it is read
        if table not in known:
            if source.execute(f"SELECT 1 FROM {_quoted(table)} LIMIT 1").fetchone():  # noqa: S608
                raise staging.unknown_table(table)
            continue
        found = source.execute("SELECT name FROM pragma_table_xinfo(?)", [table])
        staging.require_same_columns(table, known[table], [name for (name,) in found])
        names = ", ".join(map(_quoted, known[table]))
        target.execute(f"DELETE FROM {_quoted(table)}")  # noqa: S608 - what a migration put there
        rows = source.execute(f"SELECT {names} FROM {_quoted(table)}")  # noqa: S608
        marks = ", ".join(["%s"] * len(known[table]))
        while batch := rows.fetchmany(ROWS):
            target.executemany(f"INSERT INTO {_quoted(table)} ({names}) VALUES ({marks})", batch)  # noqa: S608


def _check(dump: Path) -> None:
    """Raise `BackupError` if the dump is not a sound database."""
    try:
        with closing(_open(dump)) as opened:
            faults = [row[0] for row in opened.execute("PRAGMA integrity_check") if row[0] != "ok"]
    except sqlite3.DatabaseError as error:
        raise BackupError(f"The database in {dump} is damaged ({error}). Use another backup.") from error
    if faults:
        raise BackupError(f"The database in {dump} is damaged ({faults[0]}). Use another backup.")


def _lock(current: sqlite3.Connection) -> None:
    """Lock the current database against everyone, with all of it in the one file."""
    try:
        (mode,) = current.execute("PRAGMA journal_mode=DELETE").fetchone()  # refused while another connection is open
        current.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        raise BackupError(IN_USE.format(error)) from error
    if mode != "delete":
        raise BackupError(IN_USE.format("another process has opened it"))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
