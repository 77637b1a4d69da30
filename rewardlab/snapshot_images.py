"""Images of a snapshot, in a folder or in its shards, named by their sha256, which is checked at every read."""

import hashlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from rewardlab import images
from rewardlab.errors import DataError as DataError
from rewardlab.image_shards import open_shards

SHOWN = 20  # missing images in a message


def require_images(paths: Iterable[str], folder: Path, *, what: str) -> None:
    """Raise `DataError` with all images that are not in the folder, before any is read. what: whose images they are."""
    named, shards = sorted(set(paths)), open_shards(folder)
    missing = [path for path in named if path not in shards and not (folder / path).is_file()]
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN:,} more" if len(missing) > SHOWN else "")
        raise DataError(
            f"{len(missing):,} of {what} {len(named):,} images are not in {folder}: {shown}. Restore them, or set "
            "their folder with --images (`snapshot --with-images` copies them)."
        )


def read_image(folder: Path, path: str) -> images.Pixels:
    """Decode an image that is named by its sha256. Raises `DataError` if it is missing or was changed."""
    shards = open_shards(folder)
    file = folder / (f"{shards.index[path].shard}: {path}" if path in shards else path)
    try:
        data = shards.read(path) if path in shards else file.read_bytes()
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}). Restore it and run the same command again."
        ) from error
    if hashlib.sha256(data).hexdigest() != PurePosixPath(path).stem:
        raise DataError(
            f"{file} was changed after the snapshot: its sha256 differs from its name. Restore the file, or take a "
            "new snapshot."
        )
    return images.decode(data)
