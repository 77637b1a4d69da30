"""A database beside the current one, where a backup is restored and checked before it takes the current one's place.

Its tables, views and triggers come from our own migrations; only rows come from the dump. So nothing that a dump
defines is ever run, and a dump cannot lack the triggers that keep answers. While a stage is open, Django's default
connection uses it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from annotate.backup.manifest import BackupError, Manifest

# Tasks, schedules and jobs would run here, sessions of that time would be open again, and a backup has no uploads.
LEFT_OUT = ("django_migrations", "django_q_", "django_session", "annotate_job", "annotate_upload")
REMOVED_APPS = ("authtoken",)  # in backups of earlier versions: their rows are left out
WAIT_SECONDS = 20  # for other connections to release their locks


def is_left_out(table: str) -> bool:
    return table.startswith((*LEFT_OUT, *(f"{app}_" for app in REMOVED_APPS)))


class Stage(ABC):
    """A database beside the current one."""

    def __init__(self) -> None:
        self.is_current = False

    @abstractmethod
    def create(self) -> None:
        """Make an empty database, and let the default connection use it."""

    @abstractmethod
    def copy_rows(self, dump: Path) -> None:
        """Copy the rows of every table of the dump. Raises `BackupError` for a table or column that is not known."""

    @abstractmethod
    def take_place(self, kept_as: str) -> str:
        """Put the stage in the place of the current database, in one step. Raises `BackupError` if that is in use.

        kept_as: name of the earlier database; empty to delete it. Returns where it is kept, in words.
        """

    @abstractmethod
    def leave(self) -> None:
        """Let the default connection use the current database again, and delete the stage if it did not become it."""

    def columns(self) -> dict[str, list[str]]:
        """Return table -> columns of the stage, without views and the tables that are left out."""
        with connection.cursor() as cursor:
            tables = [info.name for info in connection.introspection.get_table_list(cursor) if info.type == "t"]
            return {
                table: [column.name for column in connection.introspection.get_table_description(cursor, table)]
                for table in tables
                if not is_left_out(table)
            }

    def restore(self, dump: Path, manifest: Manifest) -> None:
        """Fill the stage: tables as at the time of the backup, then rows. Raises `BackupError`."""
        _migrate(manifest.migrations)
        self.copy_rows(dump)
        _require_counts(manifest)


@contextmanager
def opened(stage: Stage) -> Iterator[Stage]:
    try:
        stage.create()
        yield stage
    finally:
        stage.leave()


def require_known(manifest: Manifest) -> None:
    """Raise `BackupError` if the backup was made by newer code."""
    loader = MigrationLoader(None)
    known = {".".join(key) for key in loader.disk_migrations or ()}
    known |= {".".join(key) for migration in (loader.disk_migrations or {}).values() for key in migration.replaces}
    for name in _kept(manifest.migrations):
        if name not in known:
            raise BackupError(
                f"This backup was made by newer code: migration {name} is not known here. Update the code first."
            )


def _kept(migrations: list[str]) -> list[str]:
    return [name for name in migrations if name.partition(".")[0] not in REMOVED_APPS]


def _migrate(migrations: list[str]) -> None:
    """Create the tables as these migrations leave them."""
    executor = MigrationExecutor(connection)
    wanted = {(app, name) for app, _, name in (one.partition(".") for one in _kept(migrations))}
    nodes = [executor.loader.graph.node_map[key] for key in sorted(wanted)]
    # Only the last ones: Django takes a target that another one has applied already as one to go back to.
    executor.migrate([node.key for node in nodes if not any(child.key in wanted for child in node.children)])
    applied = set(MigrationRecorder(connection).applied_migrations())
    if missing := sorted(".".join(key) for key in applied - wanted):
        raise BackupError(
            f"The manifest does not list the migration {missing[0]}, on which others that it lists depend: it was "
            "changed by hand or damaged. Use another backup."
        )


def _require_counts(manifest: Manifest) -> None:
    existing = set(connection.introspection.table_names())
    with connection.cursor() as cursor:
        for table, wanted in manifest.counts.items():
            if is_left_out(table):
                continue
            if table not in existing:
                raise BackupError(f"The manifest counts a table {table}, which is not known here. Use another backup.")
            cursor.execute(f"SELECT COUNT(*) FROM {connection.ops.quote_name(table)}")  # noqa: S608 - one of our tables
            if (count := cursor.fetchone()[0]) != wanted:
                raise BackupError(
                    f"The dump has {count} rows of table {table}, but the manifest says {wanted}. Nothing was changed. "
                    "Use another backup."
                )


def unknown_table(table: str) -> BackupError:
    return BackupError(
        f"The dump has rows of a table {table!r:.100}, which this version does not know. Nothing was changed. "
        "Use the version of the code that made the backup."
    )


def require_same_columns(table: str, known: list[str], found: list[str]) -> None:
    if set(known) != set(found):
        odd = ", ".join(sorted(set(known) ^ set(found)))
        raise BackupError(
            f"Table {table} of the dump has other columns than this version ({odd:.300}). Nothing was changed. Use "
            "another backup."
        )
