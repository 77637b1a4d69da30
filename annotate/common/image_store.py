"""Content-addressed image files on disk, written atomically."""

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
