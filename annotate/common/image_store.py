"""Content-addressed images, in the folder MEDIA_ROOT or in the bucket MEDIA_STORE."""

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from annotate.common import stores
from annotate.common.batches import batches
from annotate.models import Candidate
from annotate.models.faces import image_path
from rewardlab import files as rewardlab_files
from rewardlab import images
from rewardlab.image_shards import ShardWriter

STORE = "images"
READS_AT_ONCE = 16
BATCH = 256


class BrokenImage(stores.StoreError):
    """A stored image is missing, or its content has changed."""


@dataclass(frozen=True)
class StoredImage:
    """A candidate's image as plain data, for workers without a database. name: of the candidate, in messages."""

    sha256: str
    name: str

    def __str__(self) -> str:
        return self.name


def stored_image(candidate: Candidate) -> StoredImage:
    return StoredImage(candidate.sha256, str(candidate))


def store_png(array: NDArray[np.uint8]) -> str:
    """Store uint8 (H, W, 3) RGB as PNG and return its sha256. Create rows that refer to the file only afterwards."""
    return store_encoded(images.encode_png(array))


def store_encoded(data: bytes) -> str:
    """Store an image that is encoded already and return its sha256."""
    sha256 = rewardlab_files.sha256(data)
    if not exists(sha256):
        stores.write(STORE, image_path(sha256), data)
    return sha256


class Batch(stores.Batch):
    """Images that are stored together. Create rows that refer to them only after `finish`."""

    def __init__(self) -> None:
        super().__init__(STORE)

    def add_png(self, array: NDArray[np.uint8]) -> str:
        """Encode and write uint8 (H, W, 3) RGB, from any thread. Return the file's sha256."""
        data = images.encode_png(array)
        sha256 = rewardlab_files.sha256(data)
        self.add(image_path(sha256), data)
        return sha256


def repair(sha256: str, data: bytes) -> None:
    """Store an image again if it is missing or damaged."""
    try:
        read(sha256)
    except BrokenImage:
        stores.write(STORE, image_path(sha256), data)


def delete(sha256: str) -> None:
    """Delete an image, which no row may refer to any more."""
    stores.store(STORE).delete(image_path(sha256))


def exists(sha256: str) -> bool:
    return stores.store(STORE).exists(image_path(sha256))


def read(sha256: str) -> bytes:
    """Return an image's PNG. Raises `BrokenImage` if it is missing or its content has changed."""
    where = stores.store(STORE).describe(image_path(sha256))
    try:
        data = stores.read(STORE, image_path(sha256))
    except FileNotFoundError as error:
        raise BrokenImage(f"{where} is missing. Restore it from a backup.") from error
    except OSError as error:
        raise BrokenImage(f"{where} cannot be read ({error.strerror}). Restore it from a backup.") from error
    if rewardlab_files.sha256(data) != sha256:
        raise BrokenImage(f"{where} was changed or damaged. Restore it from a backup.")
    return data


def load(candidate: Candidate | StoredImage) -> NDArray[np.uint8]:
    """Return uint8 (H, W, 3) RGB. Raises `BrokenImage` if the file is missing or its content has changed."""
    try:
        return images.decode(read(candidate.sha256))
    except BrokenImage as error:
        raise BrokenImage(f"{candidate}: {error}") from error


def copy_to(folder: Path, paths: Iterable[str]) -> None:
    """Copy images, given by `image_path`, to a folder that does not have them yet. Raises `BrokenImage`."""
    for batch in batches((path for path in paths if not (folder / path).exists()), BATCH):
        wanted = list(dict.fromkeys(batch))
        folder.mkdir(parents=True, exist_ok=True)
        with rewardlab_files.AtomicFiles(folder) as copies:
            for path, data in zip(wanted, read_all(wanted), strict=True):
                copies.add(folder / path, data)
            copies.finish()


def append_to_shards(folder: Path, paths: Iterable[str]) -> None:
    """Append images, given by `image_path`, to the shards of a folder that do not have them yet. Raises
    `BrokenImage`, or `DataError` for a damaged index."""
    with ShardWriter(folder) as shards:
        for batch in batches((path for path in paths if path not in shards), BATCH):
            wanted = list(dict.fromkeys(batch))
            for path, data in zip(wanted, read_all(wanted), strict=True):
                shards.add(path, data)


def read_all(paths: Sequence[str]) -> Iterator[bytes]:
    """Yield the PNGs of images, given by `image_path`, in order. Raises `BrokenImage`."""
    with ThreadPoolExecutor(READS_AT_ONCE) as reading:
        yield from reading.map(lambda path: read(Path(path).stem), paths)


def where(path: str = "") -> str:
    """Return the folder or bucket of the images, or the place of one given by `image_path`, for messages."""
    return stores.store(STORE).describe(path)


def is_local() -> bool:
    return stores.store(STORE).is_local


def local_folder(paths: Iterable[str]) -> Path:
    """Return a folder with these images: MEDIA_ROOT, to which they are copied first if they are kept in a bucket."""
    folder = Path(settings.MEDIA_ROOT)
    if not is_local():
        copy_to(folder, paths)
    return folder


def files() -> Iterator[Path]:
    """Yield every file in the media folder, in order, without those that were set aside. Images in a bucket are not
    listed."""
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
