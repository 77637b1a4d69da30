"""Everything that cannot be made again, in a folder: database, predictors, secrets and, if asked for, images.

A backup is what its `manifest.json` names. The manifest is written last and in one step, and what it names is never
written over: a backup that was killed is none, and leaves an earlier one in the same folder as it was.
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
from annotate.backup.database_dump import Copy, Fault
from annotate.models import Predictor
from rewardlab.files import sha256_of, write_atomic
from rewardlab.training import runs

MANIFEST = "manifest.json"
FORMAT = 1
TEMPORARY = ".part"  # ends the name of a file that is being written
CHUNK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    made_at: str
    commit: str
    database: str  # sqlite, postgresql
    dump: str  # file of the database
    secrets: str  # file of the secrets
    images: str  # file that lists the images by their sha256; empty: without images
    images_missing: list[str]  # lost or damaged already where the backup was made
    files: dict[str, str]  # path in the folder -> sha256, of all but the images
    migrations: list[str]  # applied: app.name
    counts: dict[str, int]  # table -> rows
    format: int = FORMAT


def back_up(folder: Path, *, with_images: bool = False) -> Manifest:
    """Write a backup while the site goes on: the database as it was at one moment. Raises `Fault`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone_in(folder):
        return _back_up(folder, with_images=with_images)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise Fault(f"Another backup is being written to {folder}.") from None
    try:
        yield
    finally:
        lock.release()


def _back_up(folder: Path, *, with_images: bool) -> Manifest:
    stamp = f"{timezone.now():%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    vendor = connection.vendor
    with database_dump.copy_of(folder / f"database-{stamp}.{database_dump.ENDINGS[vendor]}{TEMPORARY}") as copy:
        if "django_migrations" not in copy.tables():
            raise Fault("This database is empty: there is nothing to back up.")
        counts, migrations = _counts(copy), [".".join(row) for row in copy.rows(MIGRATIONS)]
        predictors = list(copy.rows("SELECT file, sha256 FROM annotate_predictor WHERE file <> ''"))
        pictures = [row[0] for row in copy.rows("SELECT DISTINCT sha256 FROM annotate_candidate ORDER BY sha256")]
    files = [_named(copy.path), _write_secrets(folder / f"secrets-{stamp}.json")]
    files += [path for file, sha256 in predictors if (path := _copy_predictor(file, sha256, folder))]
    listed, missing = folder / f"images-{stamp}.txt", []
    if with_images:
        missing = [sha256 for sha256 in pictures if not _copy_image(sha256, settings.MEDIA_ROOT, folder / "images")]
        there = sorted(set(pictures) - set(missing))
        write_atomic(listed, "".join(f"{sha256}\n" for sha256 in there).encode())
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
    _sweep(folder, manifest)
    return manifest


MIGRATIONS = "SELECT app, name FROM django_migrations ORDER BY id"


def counted_tables() -> list[str]:
    """Tables whose loss would be one; not those that the frame of a new database fills by itself."""
    left_out = {"annotate_refitrequest", "annotate_labelpolicy", "annotate_failedsignin"}
    models = [*apps.get_app_config("annotate").get_models(), apps.get_model("authtoken", "Token")]
    return sorted(
        model._meta.db_table for model in models if model._meta.managed and model._meta.db_table not in left_out
    )


def _counts(copy: Copy) -> dict[str, int]:
    there = copy.tables()
    return {table: copy.count(table) for table in counted_tables() if table in there}


def _named(path: Path) -> Path:
    """A finished file under its own name."""
    return path.rename(path.with_name(path.name.removesuffix(TEMPORARY)))


def _write_secrets(path: Path) -> Path:
    """What hashes of names and signatures were made with. Readable by its owner only."""
    kept = {"SECRET_KEY": settings.SECRET_KEY, "NAME_SALT": settings.NAME_SALT}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(kept, file)
        file.flush()
        os.fsync(file.fileno())
    return path


def _copy_predictor(file: str, sha256: str, folder: Path) -> Path | None:
    """None if it is gone or damaged: the worker fits a new one from the labels."""
    copy = folder / "predictors" / sha256 / Path(file).name
    return copy if _copy_checked(Path(settings.PREDICTOR_ROOT) / file, copy, sha256) else None


def _copy_image(sha256: str, source: Path | str, target: Path) -> bool:
    relative = f"{sha256[:2]}/{sha256}.png"
    return _copy_checked(Path(source) / relative, target / relative, sha256)


def _copy_checked(source: Path, target: Path, sha256: str) -> bool:
    """Copy a file that is named by its content, unless it is there. False: the source is missing or damaged."""
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


def _sweep(folder: Path, manifest: Manifest) -> None:
    """Remove what earlier or killed backups left here and no manifest names. Images stay: they are shared."""
    for pattern in ("database-*", "secrets-*.json", "images-*.txt", "predictors/*/*", "**/.*.tmp"):
        for path in folder.glob(pattern):
            if path.relative_to(folder).as_posix() not in manifest.files:
                path.unlink()


def read(folder: Path) -> Manifest:
    """The manifest, once everything it names was found to be what was written. Raises `Fault`."""
    try:
        fields = json.loads((folder / MANIFEST).read_text())
    except FileNotFoundError:
        raise Fault(f"{folder} is not a backup: it has no {MANIFEST}. A backup that was killed has none.") from None
    except ValueError as error:
        raise Fault(f"{folder / MANIFEST} is damaged ({error}).") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise Fault(f"{folder / MANIFEST} has a format that this code does not know.")
    try:
        manifest = Manifest(**fields)
    except TypeError as error:
        raise Fault(f"{folder / MANIFEST} is damaged ({error}).") from error
    for name, sha256 in manifest.files.items():
        _require(folder / name, sha256)
    for sha256 in listed_images(folder, manifest):
        _require(folder / "images" / sha256[:2] / f"{sha256}.png", sha256)
    return manifest


def _require(path: Path, sha256: str) -> None:
    if not path.is_file():
        raise Fault(f"{path} is missing: this backup is not whole.")
    if sha256_of(path) != sha256:
        raise Fault(f"{path} was changed or damaged: its hash is not the one that was written down.")


def listed_images(folder: Path, manifest: Manifest) -> list[str]:
    return (folder / manifest.images).read_text().split() if manifest.images else []


@dataclass(frozen=True)
class Recovered:
    manifest: Manifest
    to_migrate: bool
    secrets: list[str]  # names of variables that must be set by hand to what the file of secrets has


def recover(folder: Path, *, replace: bool = False) -> Recovered:
    """Make this installation what the backup is. Everything is checked before anything is touched; the database is
    replaced in one transaction, or stays as it was. Raises `Fault`."""
    manifest = read(folder)
    if manifest.database != connection.vendor:
        raise Fault(f"This is a backup of {manifest.database}, and DATABASE_URL names {connection.vendor}.")
    unknown = _unknown_migrations(manifest)
    if unknown:
        raise Fault(f"This backup was made by newer code: {unknown[0]} is not known here. Install that code first.")
    if not replace and (full := _first_full_table()):
        raise Fault(f"This database is not empty ({full} has rows). With --replace it is thrown away.")
    database_dump.require_sound(folder / manifest.dump)
    for sha256 in listed_images(folder, manifest):
        _copy_image(sha256, folder / "images", Path(settings.MEDIA_ROOT))
    database_dump.replace(folder / manifest.dump)
    _require_same(manifest)
    _put_predictors_back(folder)
    by_hand = _put_secrets_back(folder / manifest.secrets)
    executor = MigrationExecutor(connection)
    to_migrate = bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    return Recovered(manifest, to_migrate=to_migrate, secrets=by_hand)


def _unknown_migrations(manifest: Manifest) -> list[str]:
    loader = MigrationLoader(None)
    known = {".".join(key) for key in loader.disk_migrations or ()}
    replaced = {".".join(key) for migration in (loader.disk_migrations or {}).values() for key in migration.replaces}
    return [name for name in manifest.migrations if name not in known | replaced]


def _first_full_table() -> str | None:
    there = set(connection.introspection.table_names())
    with connection.cursor() as cursor:
        for table in counted_tables():
            if table in there:
                cursor.execute(f"SELECT 1 FROM {connection.ops.quote_name(table)} LIMIT 1")  # noqa: S608 - our own
                if cursor.fetchone():
                    return table
    return None


def _require_same(manifest: Manifest) -> None:
    with database_dump.now() as restored:
        database_dump.require_whole(restored)
        counts = _counts(restored)
    for table, wanted in manifest.counts.items():
        if counts.get(table) != wanted:
            raise Fault(f"{table} has {counts.get(table)} rows after recovery and had {wanted}: do not use it.")


def _put_predictors_back(folder: Path) -> None:
    """They are found by the rows that name them; one that is not in the backup is fitted anew."""
    rows = Predictor.objects.exclude(file="").values_list("file", "sha256")
    for file, sha256 in rows:
        _copy_checked(folder / "predictors" / sha256 / Path(file).name, Path(settings.PREDICTOR_ROOT) / file, sha256)


def _put_secrets_back(path: Path) -> list[str]:
    """Into the installation's own file, unless they come from the environment: then returns which of those differ."""
    kept: dict[str, Any] = json.loads(path.read_text())
    given = {name for name in kept if os.environ.get(name)}
    if "SECRET_KEY" not in given and not settings.PRODUCTION:
        target = Path(settings.DATA_ROOT) / "secret_key"
        if target.exists() and target.read_text() != kept["SECRET_KEY"]:
            shutil.copy2(target, target.with_name("secret_key.before-recovery"))
        fresh = target.with_name(f".secret_key.{secrets.token_hex(4)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(kept["SECRET_KEY"])
        fresh.replace(target)
    needed = {"SECRET_KEY"} & given | ({"SECRET_KEY"} if settings.PRODUCTION else set())
    if kept["NAME_SALT"] != kept["SECRET_KEY"] or "NAME_SALT" in given:
        needed.add("NAME_SALT")
    return sorted(name for name in needed if os.environ.get(name) != kept[name])


def summary(manifest: Manifest) -> str:
    """What is in it, in a line for people."""
    rows = {table.removeprefix("annotate_"): count for table, count in manifest.counts.items()}
    shown = ("judgement", "campaign", "user", "face", "candidate")
    counts = ", ".join(f"{rows.get(name, 0)} {name}s" for name in shown)
    return f"{manifest.database} of {manifest.made_at[:19]} UTC, {counts}"
