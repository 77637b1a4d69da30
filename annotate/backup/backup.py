"""Back up to a folder what cannot be computed again: database, predictors, secrets and, on request, images.

A backup consists of the files that its `manifest.json` lists. The manifest is written last and atomically, and listed
files are never overwritten. An interrupted backup therefore leaves an earlier one in the same folder intact.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.exceptions import SuspiciousFileOperation
from django.db import connection
from django.utils import timezone
from filelock import FileLock, Timeout

from annotate.backup import database_dump
from annotate.backup import manifest as manifests
from annotate.backup.database_dump import Reader
from annotate.backup.manifest import BackupError, Manifest
from annotate.common import image_store, stores
from annotate.models.faces import image_path
from rewardlab.files import sha256_of, write_atomic
from rewardlab.training import runs

TEMPORARY = ".part"  # suffix of a file that is being written


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
        missing = [sha256 for sha256 in images if not _save_image(sha256, folder / "images")]
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
    write_atomic(folder / manifests.FILE, json.dumps(asdict(manifest), indent=1).encode())
    _remove_unlisted(folder, manifest)
    return manifest


MIGRATIONS = "SELECT app, name FROM django_migrations ORDER BY id"


def counted_tables() -> list[str]:
    """List the tables whose rows are counted, without those that every new database fills or that may be lost."""
    may_be_lost = ("refitrequest", "labelpolicy", "failedsignin", "knownaddress", "recentjoin", "workerheartbeat")
    left_out = {f"annotate_{name}" for name in may_be_lost}
    models = apps.get_app_config("annotate").get_models()
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
    """Copy a predictor's file; None if it is missing, damaged or elsewhere: the worker then fits a new one."""
    copy = folder / "predictors" / sha256 / Path(file).name
    if copy.is_file() and sha256_of(copy) == sha256:
        return copy
    try:
        data = stores.read("predictors", file)
    except (FileNotFoundError, SuspiciousFileOperation):
        return None
    if hashlib.sha256(data).hexdigest() != sha256:
        return None
    write_atomic(copy, data)
    return copy


def _save_image(sha256: str, folder: Path) -> bool:
    """Copy an image from the store unless the folder has it. Return False if it is missing or damaged."""
    target = folder / image_path(sha256)
    if target.is_file() and sha256_of(target) == sha256:
        return True
    try:
        write_atomic(target, image_store.read(sha256))
    except image_store.BrokenImage:
        return False
    return True


def _remove_unlisted(folder: Path, manifest: Manifest) -> None:
    """Remove files of earlier or interrupted backups that the manifest does not list. Images are shared and kept."""
    for pattern in ("database-*", "secrets-*.json", "images-*.txt", "predictors/*/*", "**/.*.tmp"):
        for path in folder.glob(pattern):
            if path.relative_to(folder).as_posix() not in manifest.files:
                path.unlink()
