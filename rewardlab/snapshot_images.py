"""The images of a snapshot, named by their content and checked whenever one is read."""

import hashlib
from pathlib import Path

from rewardlab import images


class DataError(ValueError):
    """The manifest's images or labels cannot be trained on as they are; the message says which and what to do."""


def read_image(folder: Path, path: str) -> images.Pixels:
    """Decode an image that is named by its content's sha256. Raises `DataError` if it is gone or was changed."""
    file = folder / path
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}). Put it back and run the same command.") from error
    if hashlib.sha256(data).hexdigest() != file.stem:
        raise DataError(
            f"{file} was changed after the snapshot: its sha256 is not its name. Restore it, or take a new snapshot."
        )
    return images.decode(data)
