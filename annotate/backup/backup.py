"""Back up to a folder what cannot be computed again: database, predictors, secrets and, on request, images.

A backup consists of the files that its `manifest.json` lists. The manifest is written last and atomically, and listed
files are never overwritten. An interrupted backup therefore leaves an earlier one in the same folder intact.
"""

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.utils import timezone
from filelock import FileLock, Timeout

from annotate.backup import database_dump
from annotate.backup.database_dump import BackupError, Reader
from annotate.models import Predictor
from rewardlab.files import sha256_of, write_atomic
from rewardlab.training import runs

MANIFEST = "manifest.json"
FORMAT = 1
TEMPORARY = ".part"  # suffix of a file that is being written
CHUNK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """The fields of manifest.json."""

    made_at: str
    commit: str
    database: str  # sqlite, postgresql
    dump: str  # file with the database
    secrets: str  # file with the secrets
    images: str  # file that lists the images by sha256; empty if the backup has no images
    images_missing: list[str]  # sha256 of images that were missing or damaged when the backup was made
    files: dict[str, str]  # path in the folder -> sha256, without the images
    migrations: list[str]  # applied migrations, as app.name
    counts: dict[str, int]  # table -> rows
    format: int = FORMAT


def back_up(folder: Path, *, with_images: bool = False) -> Manifest:
    """Write a consistent backup, also while the site is running. Raises `BackupError`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _locked(folder):
        return _back_up(folder, with_images=with_images)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BackupError(f"Another backup is being written to {folder}. Wait for it to finish.") from None
    try:
        yield
    finally:
        lock.release()


def _back_up(folder: Path, *, with_images: bool) -> Manifest:
    stamp = f"{timezone.now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    vendor = connection.vendor
    with database_dump.dump_to(folder / f"database-{stamp}.{database_dump.SUFFIXES[vendor]}{TEMPORARY}") as dump:
        if "django_migrations" not in dump.tables():
            raise BackupError("The database has no tables, so there is nothing to back up. Check DATABASE_URL.")
        counts, migrations = _counts(dump), [".".join(row) for row in dump.rows(MIGRATIONS)]
        predictors = list(dump.rows("SELECT file, sha256 FROM annotate_predictor WHERE file <> ''"))
        images = [row[0] for row in dump.rows("SELECT DISTINCT sha256 FROM annotate_candidate ORDER BY sha256")]
    files = [_remove_part_suffix(dump.path), _write_secrets(folder / f"secrets-{stamp}.json")]
    files += [path for file, sha256 in predictors if (path := _copy_predictor(file, sha256, folder))]
    listed, missing = folder / f"images-{stamp}.txt", []
    if with_images:
        missing = [sha256 for sha256 in images if not _copy_image(sha256, settings.MEDIA_ROOT, folder / "images")]
        copied = sorted(set(images) - set(missing))
        write_atomic(listed, "".join(f"{sha256}\n" for sha256 in copied).encode())
        files.append(listed)
    manifest = Manifest(
        made_at=timezone.now().isoformat(),
        commit=runs.code_version()["commit"],
        database=vendor,
        dump=files[0].name,
        secrets=files[1].name,
        images=listed.name if with_images else "",
        images_missing=missing,
        files={path.relative_to(folder).as_posix(): sha256_of(path) for path in files},
        migrations=migrations,
        counts=counts,
    )
    write_atomic(folder / MANIFEST, json.dumps(asdict(manifest), indent=1).encode())
    _remove_unlisted(folder, manifest)
    return manifest


MIGRATIONS = "SELECT app, name FROM django_migrations ORDER BY id"


def counted_tables() -> list[str]:
    """List the tables whose rows are counted, without those that every new database fills or that may be lost."""
    left_out = {f"annotate_{name}" for name in ("refitrequest", "labelpolicy", "failedsignin", "workerheartbeat")}
    models = [*apps.get_app_config("annotate").get_models(), apps.get_model("authtoken", "Token")]
    return sorted(
        model._meta.db_table for model in models if model._meta.managed and model._meta.db_table not in left_out
    )


def _counts(database: Reader) -> dict[str, int]:
    existing = database.tables()
    return {table: database.count(table) for table in counted_tables() if table in existing}


def _remove_part_suffix(path: Path) -> Path:
    """Give a finished file its final name."""
    return path.rename(path.with_name(path.name.removesuffix(TEMPORARY)))


def _write_secrets(path: Path) -> Path:
    """Write the keys of name hashes and signatures to a file that only its owner can read."""
    values = {"SECRET_KEY": settings.SECRET_KEY, "NAME_SALT": settings.NAME_SALT}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(values, file)
        file.flush()
        os.fsync(file.fileno())
    return path


def _copy_predictor(file: str, sha256: str, folder: Path) -> Path | None:
    """Copy a predictor's file; None if it is missing or damaged: the worker then fits a new one from the labels."""
    copy = folder / "predictors" / sha256 / Path(file).name
    return copy if _copy_checked(Path(settings.PREDICTOR_ROOT) / file, copy, sha256) else None


def _copy_image(sha256: str, source: Path | str, target: Path) -> bool:
    relative = f"{sha256[:2]}/{sha256}.png"
    return _copy_checked(Path(source) / relative, target / relative, sha256)


def _copy_checked(source: Path, target: Path, sha256: str) -> bool:
    """Copy a file unless the target has the hash already. Return False if the source is missing or damaged."""
    if target.is_file() and sha256_of(target) == sha256:
        return True
    try:
        data = source.read_bytes()
    except FileNotFoundError:
        return False
    if hashlib.sha256(data).hexdigest() != sha256:
        return False
    write_atomic(target, data)
    return True


def _remove_unlisted(folder: Path, manifest: Manifest) -> None:
    """Remove files of earlier or interrupted backups that the manifest does not list. Images are shared and kept."""
    for pattern in ("database-*", "secrets-*.json", "images-*.txt", "predictors/*/*", "**/.*.tmp"):
        for path in folder.glob(pattern):
            if path.relative_to(folder).as_posix() not in manifest.files:
                path.unlink()


def read(folder: Path) -> Manifest:
    """Read the manifest and check every listed file against its hash. Raises `BackupError`."""
    try:
        fields = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        raise BackupError(
            f"{folder} is not a backup: it has no {MANIFEST}. The backup may have been interrupted; make a new one."
        ) from None
    except ValueError as error:
        raise BackupError(f"{folder / MANIFEST} is damaged ({error}). Use another backup.") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise BackupError(
            f"{folder / MANIFEST} has an unknown format. Install the version of the code that made the backup."
        )
    try:
        manifest = Manifest(**fields)
    except TypeError as error:
        raise BackupError(f"{folder / MANIFEST} is damaged ({error}). Use another backup.") from error
    for name, sha256 in manifest.files.items():
        _require(folder / name, sha256)
    for sha256 in listed_images(folder, manifest):
        _require(folder / "images" / sha256[:2] / f"{sha256}.png", sha256)
    return manifest


def _require(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise BackupError(f"{path} is missing: the backup is incomplete. Use another backup.")
    if sha256_of(path) != sha256:
        raise BackupError(f"{path} was changed or damaged: its hash differs from the manifest. Use another backup.")


def listed_images(folder: Path, manifest: Manifest) -> list[str]:
    """Return the sha256 of the images in the backup."""
    return (folder / manifest.images).read_text().split() if manifest.images else []


@dataclass(frozen=True)
class Recovered:
    """A finished recovery, and what the operator still has to do."""

    manifest: Manifest
    to_migrate: bool
    secrets: list[str]  # environment variables that must be set to the values in the file of secrets


def recover(folder: Path, *, replace: bool = False) -> Recovered:
    """Restore the backup into this installation.

    Every file is checked before anything is changed. The database is replaced in one transaction.
    replace: overwrite a database that is not empty. Raises `BackupError`.
    """
    manifest = read(folder)
    if manifest.database != connection.vendor:
        raise BackupError(
            f"This is a backup of a {manifest.database} database, but DATABASE_URL names {connection.vendor}. "
            f"Set DATABASE_URL to a {manifest.database} database."
        )
    unknown = _unknown_migrations(manifest)
    if unknown:
        raise BackupError(
            f"This backup was made by newer code: migration {unknown[0]} is not known here. Update the code first."
        )
    if not replace and (table := _first_nonempty_table()):
        raise BackupError(f"This database is not empty ({table} has rows). Use --replace to delete its contents.")
    database_dump.check_dump(folder / manifest.dump)
    for sha256 in listed_images(folder, manifest):
        _copy_image(sha256, folder / "images", Path(settings.MEDIA_ROOT))
    database_dump.restore(folder / manifest.dump)
    _check_counts(manifest)
    _restore_predictors(folder)
    to_set = _restore_secrets(folder / manifest.secrets)
    executor = MigrationExecutor(connection)
    to_migrate = bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    return Recovered(manifest, to_migrate=to_migrate, secrets=to_set)


def _unknown_migrations(manifest: Manifest) -> list[str]:
    loader = MigrationLoader(None)
    known = {".".join(key) for key in loader.disk_migrations or ()}
    replaced = {".".join(key) for migration in (loader.disk_migrations or {}).values() for key in migration.replaces}
    return [name for name in manifest.migrations if name not in known | replaced]


def _first_nonempty_table() -> str | None:
    existing = set(connection.introspection.table_names())
    with connection.cursor() as cursor:
        for table in counted_tables():
            if table in existing:
                cursor.execute(f"SELECT 1 FROM {connection.ops.quote_name(table)} LIMIT 1")  # noqa: S608 - our own table
                if cursor.fetchone():
                    return table
    return None


def _check_counts(manifest: Manifest) -> None:
    with database_dump.current_database() as restored:
        database_dump.check_integrity(restored)
        counts = _counts(restored)
    for table, wanted in manifest.counts.items():
        if counts.get(table) != wanted:
            raise BackupError(
                f"Table {table} has {counts.get(table)} rows after recovery instead of {wanted}. "
                "Do not use this database; recover another backup."
            )


def _restore_predictors(folder: Path) -> None:
    """Copy the files that the restored rows name. The worker refits a predictor whose file is not in the backup."""
    rows = Predictor.objects.exclude(file="").values_list("file", "sha256")
    for file, sha256 in rows:
        _copy_checked(folder / "predictors" / sha256 / Path(file).name, Path(settings.PREDICTOR_ROOT) / file, sha256)


def _restore_secrets(path: Path) -> list[str]:
    """Restore the installation's secret key file. Return the environment variables whose value differs."""
    backed_up: dict[str, Any] = json.loads(path.read_text())
    given = {name for name in backed_up if os.environ.get(name)}
    if "SECRET_KEY" not in given and not settings.PRODUCTION:
        target = Path(settings.DATA_ROOT) / "secret_key"
        if target.exists() and target.read_text() != backed_up["SECRET_KEY"]:
            shutil.copy2(target, target.with_name("secret_key.before-recovery"))
        new = target.with_name(f".secret_key.{secrets.token_hex(4)}")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(backed_up["SECRET_KEY"])
        new.replace(target)
    needed = {"SECRET_KEY"} & given | ({"SECRET_KEY"} if settings.PRODUCTION else set())
    if backed_up["NAME_SALT"] != backed_up["SECRET_KEY"] or "NAME_SALT" in given:
        needed.add("NAME_SALT")
    return sorted(name for name in needed if os.environ.get(name) != backed_up[name])


def summary(manifest: Manifest) -> str:
    """Describe the backup in one line."""
    rows = {table.removeprefix("annotate_"): count for table, count in manifest.counts.items()}
    shown = ("judgement", "campaign", "user", "face", "candidate")
    counts = ", ".join(f"{rows.get(name, 0)} {name}s" for name in shown)
    return f"{manifest.database} database of {manifest.made_at[:19]} UTC, {counts}"
