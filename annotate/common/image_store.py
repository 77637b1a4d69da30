"""Content-addressed image files on disk, written atomically."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from annotate.models import Candidate
from rewardlab import files as rewardlab_files
from rewardlab import images


class BrokenImage(RuntimeError):
    """A stored image is missing, or its content has changed."""


def store_png(array: NDArray[np.uint8]) -> str:
    """Store uint8 (H, W, 3) RGB as PNG and return its sha256. Create rows that refer to the file only afterwards."""
    data = images.encode_png(array)
    sha256 = rewardlab_files.sha256(data)
    path = Path(settings.MEDIA_ROOT) / sha256[:2] / f"{sha256}.png"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        rewardlab_files.write_atomic(path, data)
    return sha256


def load(candidate: Candidate) -> NDArray[np.uint8]:
    """Return uint8 (H, W, 3) RGB. Raises `BrokenImage` when the file is missing or its content has changed."""
    try:
        data = candidate.path.read_bytes()
    except OSError as error:
        raise BrokenImage(
            f"{candidate}: {candidate.path} cannot be read ({error.strerror}). Restore it from a backup."
        ) from error
    if rewardlab_files.sha256(data) != candidate.sha256:
        raise BrokenImage(f"{candidate}: {candidate.path} was changed or damaged. Restore it from a backup.")
    return images.decode(data)


def files() -> Iterator[Path]:
    """Yield every file in the media folder, in order, without those that were set aside."""
    folder = Path(settings.MEDIA_ROOT)
    for part in sorted(folder.iterdir()) if folder.is_dir() else ():
        if part != unreferenced_folder():
            yield from sorted(path for path in part.rglob("*") if not path.is_dir()) if part.is_dir() else (part,)


def sha256_of_name(path: Path) -> str | None:
    """Return the sha256 by which a file of `files` is stored, or None if it is not the file of an image."""
    expected = re.fullmatch(r"([0-9a-f]{64})\.png", path.name)
    is_in_place = expected and path == Path(settings.MEDIA_ROOT) / path.name[:2] / path.name
    return expected[1] if expected and is_in_place else None


def is_temporary(path: Path) -> bool:
    """Return whether `write_atomic` gave the file its name and was interrupted."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def unreferenced_folder() -> Path:
    return Path(settings.MEDIA_ROOT) / "unreferenced"


def set_aside(path: Path) -> None:
    """Move a file out of use, to `unreferenced_folder`."""
    unreferenced_folder().mkdir(parents=True, exist_ok=True)
    path.replace(unreferenced_folder() / path.name)
