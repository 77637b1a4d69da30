"""Recovery of a backup: all or nothing.

Everything is checked before anything of the installation changes: names, hashes, the rows in a database beside the
current one, and that nothing else uses the current one. That database is kept beside the recovered one.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from annotate.backup import manifest as manifests
from annotate.backup import staging
from annotate.backup.backup import counted_tables
from annotate.backup.manifest import PLAIN, SHA256, BackupError, Manifest
from annotate.backup.postgres_stage import PostgresStage
from annotate.backup.sqlite_stage import SqliteStage
from annotate.common import image_store, stores
from annotate.common.site_lock import SiteIsRunning, site_lock
from annotate.models.faces import image_path
from rewardlab.files import sha256_of

STAGES: dict[str, type[staging.Stage]] = {"sqlite": SqliteStage, "postgresql": PostgresStage}
# Columns from which names of files and folders are made.
NAMES = (("annotate_candidate", "source"), ("annotate_restorer", "name"), ("annotate_campaign", "slug"))


@dataclass(frozen=True)
class Recovered:
    """A finished recovery, and what the operator still has to do."""

    manifest: Manifest
    to_migrate: bool
    secrets: list[str]  # environment variables that must be set to the values in the file of secrets
    kept: str  # where the earlier database is kept, in words; empty if it held nothing


@dataclass(frozen=True)
class Secrets:
    """The file of secrets of a backup."""

    SECRET_KEY: str
    NAME_SALT: str


def recover(folder: Path, *, replace: bool = False) -> Recovered:
    """Restore the backup into this installation. replace: also if its database is not empty. Raises `BackupError`."""
    manifest = manifests.read(folder)
    if manifest.database != connection.vendor:
        raise BackupError(
            f"This is a backup of a {manifest.database} database, but DATABASE_URL names {connection.vendor}. "
            f"Set DATABASE_URL to a {manifest.database} database."
        )
    staging.require_known(manifest)
    backed_up = _read_secrets(folder / manifest.secrets)
    filled = _first_nonempty_table()
    if filled and not replace:
        raise BackupError(
            f"This database is not empty ({filled} has rows). Use --replace to put the backup in its place; it is kept."
        )
    stamp = f"before-recovery-{timezone.now():%Y%m%dT%H%M%S}"
    with _locked(), staging.opened(STAGES[manifest.database]()) as stage:
        stage.restore(folder / manifest.dump, manifest)
        predictors = _require_safe_rows()
        for sha256 in manifests.listed_images(folder, manifest):
            image_store.repair(sha256, (folder / "images" / image_path(sha256)).read_bytes())
        kept = stage.take_place(stamp if filled else "")
        to_set = _restore_secrets(backed_up, stamp)
        for file, sha256 in predictors:
            _restore_predictor(folder, file, sha256, stamp)
    executor = MigrationExecutor(connection)
    to_migrate = bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    return Recovered(manifest, to_migrate=to_migrate, secrets=to_set, kept=kept)


@contextmanager
def _locked() -> Iterator[None]:
    try:
        with site_lock("recover"):
            yield
    except SiteIsRunning as error:
        raise BackupError(f"{error} Stop it before you recover a backup. Nothing was changed.") from error


def _first_nonempty_table() -> str | None:
    existing = set(connection.introspection.table_names())
    with connection.cursor() as cursor:
        for table in counted_tables():
            if table in existing:
                cursor.execute(f"SELECT 1 FROM {connection.ops.quote_name(table)} LIMIT 1")  # noqa: S608 - our own table
                if cursor.fetchone():
                    return table
    return None


def _require_safe_rows() -> list[tuple[str, str]]:
    """Check the rows from which names of files are made. Returns file and sha256 of the predictors."""
    with connection.cursor() as cursor:
        for table, column in NAMES:
            cursor.execute(f"SELECT DISTINCT {column} FROM {table}")  # noqa: S608 - our own names
            for (name,) in cursor.fetchall():
                if not isinstance(name, str) or name.startswith(".") or set(name) & set("/\\\0"):
                    raise _unsafe(table, column, name)
        cursor.execute("SELECT DISTINCT sha256 FROM annotate_candidate")
        while rows := cursor.fetchmany(10_000):
            for (sha256,) in rows:
                if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
                    raise _unsafe("annotate_candidate", "sha256", sha256)
        cursor.execute("SELECT file, sha256 FROM annotate_predictor WHERE file <> ''")
        predictors = cursor.fetchall()
    for file, sha256 in predictors:
        if not isinstance(file, str) or not PLAIN.fullmatch(file):
            raise _unsafe("annotate_predictor", "file", file)
        if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
            raise _unsafe("annotate_predictor", "sha256", sha256)
    return predictors


def _unsafe(table: str, column: str, value: object) -> BackupError:
    return BackupError(
        f"The dump has {value!r:.200} in the column {column} of {table}, which would name a file outside the folders "
        "of the installation. Nothing was changed. Use another backup."
    )


def _restore_predictor(folder: Path, file: str, sha256: str, stamp: str) -> None:
    """Store a predictor's file, and keep another of its name. The worker refits one that the backup does not have."""
    source = folder / "predictors" / sha256 / file
    if not source.is_file() or sha256_of(source) != sha256:
        return
    content = source.read_bytes()
    try:
        stored = stores.read("predictors", file)
    except FileNotFoundError:
        stored = content
    if stored != content:
        stores.write("predictors", f"{file}.{stamp}", stored)
    stores.write("predictors", file, content)


def _read_secrets(path: Path) -> Secrets:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Secrets)
    except msgspec.DecodeError as error:
        raise BackupError(f"{path} is damaged ({error}). Use another backup.") from error


def _restore_secrets(backed_up: Secrets, stamp: str) -> list[str]:
    """Restore the installation's secret key file. Return the environment variables whose value differs."""
    values = {"SECRET_KEY": backed_up.SECRET_KEY, "NAME_SALT": backed_up.NAME_SALT}
    given = {name for name in values if os.environ.get(name)}
    if "SECRET_KEY" not in given and not settings.PRODUCTION:
        target = Path(settings.DATA_ROOT) / "secret_key"
        new = target.with_name(f".secret_key.{secrets.token_hex(4)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(backed_up.SECRET_KEY)
            file.flush()
            os.fsync(file.fileno())
        if target.exists() and target.read_text() != backed_up.SECRET_KEY:
            target.replace(target.with_name(f"secret_key.{stamp}"))
        new.replace(target)
    needed = {"SECRET_KEY"} & given | ({"SECRET_KEY"} if settings.PRODUCTION else set())
    if backed_up.NAME_SALT != backed_up.SECRET_KEY or "NAME_SALT" in given:
        needed.add("NAME_SALT")
    return sorted(name for name in needed if os.environ.get(name) != values[name])
