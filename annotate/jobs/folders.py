"""Folders of the server from which files can be chosen: weights, folders that an operator allowed, and uploads.

A choice is a token such as `data:0:faces/ffhq`, never a path that someone typed. It is resolved when it is chosen and
again when the job starts, and refused if it leaves its folder, through a symbolic link too.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.utils.translation import gettext as _

from rewardlab import assets

DEEPEST = 3  # levels below the folder
MOST = 500  # choices of one list
MOST_SCANNED = 20_000  # files and folders of one folder; photographs may be many, and a page must not wait for them
TABLES = (".csv", ".tsv", ".json", ".jsonl")


class NotAllowed(ValueError):
    """The token names nothing in an allowed folder."""


@dataclass(frozen=True)
class Root:
    """A folder from which files can be chosen. key: the first part of its tokens."""

    key: str
    path: Path


def weights_roots() -> list[Root]:
    return [Root("weights", assets.weights_folder())]


def data_roots() -> list[Root]:
    return [Root(f"data:{number}", Path(path)) for number, path in enumerate(settings.DATA_FOLDERS)]


def upload_root() -> Root:
    """Return the folder of uploads that were checked, from which only the ingest job chooses."""
    return Root("upload", Path(settings.UPLOAD_ROOT) / "checked")


def list_files(roots: list[Root], suffixes: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """List token and label of each file, by name; all files if no suffix is given."""
    return _listed(roots, lambda path, is_folder: not is_folder and (not suffixes or path.suffix.lower() in suffixes))


def list_folders(roots: list[Root], *, with_root: bool = False) -> list[tuple[str, str]]:
    """List token and label of each folder, by name."""
    own = [(f"{root.key}:", str(root.path)) for root in roots if with_root and root.path.is_dir()]
    return own + _listed(roots, lambda path, is_folder: is_folder)


def resolve(token: str) -> Path:
    """Return the path of a token. Raises `NotAllowed`."""
    for root in (*weights_roots(), *data_roots(), upload_root()):
        if token.startswith(f"{root.key}:"):
            return _inside(root.path, token.removeprefix(f"{root.key}:"))
    raise NotAllowed(_("%(token)s is not in an allowed folder.") % {"token": token})


def _inside(root: Path, relative: str) -> Path:
    path = root / relative
    parts = Path(relative).parts
    if "\0" not in relative and ".." not in parts and not Path(relative).is_absolute():
        resolved = path.resolve()
        if resolved.exists() and resolved.is_relative_to(root.resolve()):
            return resolved
    raise NotAllowed(
        _("%(path)s is not in the folder %(root)s, or no longer exists.") % {"path": relative, "root": root}
    )


def _listed(roots: list[Root], is_wanted: Callable[[Path, bool], bool]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for root in roots:
        for path, is_folder in islice(_walk(root.path), MOST_SCANNED):
            if is_wanted(path, is_folder):
                relative = path.relative_to(root.path).as_posix()
                label = relative if len(roots) == 1 else f"{root.path.name}/{relative}"
                found.append((f"{root.key}:{relative}", label))
            if len(found) == MOST:
                return found
    return found


def _walk(root: Path) -> Iterator[tuple[Path, bool]]:
    """Yield path and whether it is a folder, without hidden names and without links that leave the root."""
    whole = root.resolve()

    def below(folder: Path, level: int) -> Iterator[tuple[Path, bool]]:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            path = Path(entry.path)
            if entry.name.startswith(".") or (entry.is_symlink() and not path.resolve().is_relative_to(whole)):
                continue
            is_folder = entry.is_dir()
            if is_folder or entry.is_file():
                yield path, is_folder
            if level < DEEPEST and is_folder and not entry.is_symlink():
                yield from below(path, level + 1)

    yield from below(root, 1)
