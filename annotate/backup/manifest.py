"""The manifest of a backup, and the checks of everything that it names before any of it is used.

A backup may come from someone else, or be damaged: names must be plain names inside its folder, hashes must match, and
nothing in it is believed because it was written by a program.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from rewardlab.files import sha256_of

FILE = "manifest.json"
FORMAT = 1
SHA256 = re.compile(r"[0-9a-f]{64}")
PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")  # a file's name without a folder, and not hidden
TABLE = re.compile(r"[a-z][a-z0-9_]{0,62}")


class BackupError(RuntimeError):
    """Backup or recovery failed; the message says why and what to do."""


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

    def summary(self) -> str:
        """Describe the backup in one line."""
        rows = {table.removeprefix("annotate_"): count for table, count in self.counts.items()}
        shown = ("judgement", "campaign", "user", "face", "candidate")
        counts = ", ".join(f"{rows.get(name, 0)} {name}s" for name in shown)
        return f"{self.database} database of {self.made_at[:19]} UTC, {counts}"


class _Format(msgspec.Struct):
    format: int = 0


def read(folder: Path) -> Manifest:
    """Read the manifest, and check every file that it names. Raises `BackupError`."""
    path = folder / FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise BackupError(
            f"{folder} is not a backup: it has no {FILE}. The backup may have been interrupted; make a new one."
        ) from None
    try:
        known = msgspec.json.decode(data, type=_Format).format == FORMAT
        manifest = msgspec.json.decode(data, type=Manifest) if known else None
    except msgspec.DecodeError as error:
        raise BackupError(f"{path} is damaged ({error}). Use another backup.") from error
    if manifest is None:
        raise BackupError(f"{path} has an unknown format. Install the version of the code that made the backup.")
    _require_safe_names(path, manifest)
    for name, sha256 in manifest.files.items():
        _require_file(folder, name, sha256)
    for sha256 in listed_images(folder, manifest):
        if not SHA256.fullmatch(sha256):
            raise _unsafe(folder / manifest.images, sha256)
        _require_file(folder, f"images/{sha256[:2]}/{sha256}.png", sha256)
    return manifest


def _require_safe_names(path: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        parts = PurePosixPath(name).parts
        if "/".join(parts) != name or not all(PLAIN.fullmatch(part) for part in parts):
            raise _unsafe(path, name)
    for name in filter(None, (manifest.dump, manifest.secrets, manifest.images)):
        if not PLAIN.fullmatch(name) or name not in manifest.files:
            raise _unsafe(path, name)
    for table in manifest.counts:
        if not TABLE.fullmatch(table):
            raise _unsafe(path, table)


def _unsafe(path: Path, name: str) -> BackupError:
    return BackupError(
        f"{path} names {name!r:.200}, which no backup contains: it was changed by hand or damaged. "
        "Nothing was changed. Use another backup."
    )


def _require_file(folder: Path, name: str, sha256: str) -> None:
    path = folder / name
    if not path.is_file():
        raise BackupError(f"{path} is missing: the backup is incomplete. Use another backup.")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BackupError(f"{path} is a link to a file outside the backup. Copy the file there, or use another backup.")
    if sha256_of(path) != sha256:
        raise BackupError(f"{path} was changed or damaged: its hash differs from the manifest. Use another backup.")


def listed_images(folder: Path, manifest: Manifest) -> list[str]:
    """Return the sha256 of the images in the backup."""
    return (folder / manifest.images).read_text().split() if manifest.images else []
