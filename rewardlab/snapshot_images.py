"""Images of a snapshot, named by their sha256, which is checked at every read."""

import hashlib
from pathlib import Path

from rewardlab import images


class DataError(ValueError):
    """The manifest's images or labels cannot be trained on; the message says which ones and what to do."""


def read_image(folder: Path, path: str) -> images.Pixels:
    """Decode an image that is named by its sha256. Raises `DataError` if it is missing or was changed."""
    file = folder / path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}). Restore it and run the same command again."
        ) from error
    if hashlib.sha256(data).hexdigest() != file.stem:
        raise DataError(
            f"{file} was changed after the snapshot: its sha256 differs from its name. Restore the file, or take a "
            "new snapshot."
        )
    return images.decode(data)
