"""Images of a snapshot in tar files, which training reads in place, at random, without unpacking.

The layout is WebDataset's: each image is a member SHA256.png of one of `images-00000.tar`, `images-00001.tar`, ...
`shards.json` beside them names the shard, the offset and the size of each image, so that any process reads exactly the
images of its own batches.
"""

import io
import json
import os
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

from rewardlab.errors import DataError
from rewardlab.files import write_atomic

INDEX = "shards.json"
FORMAT = "diffusionreward-image-shards"
VERSION = 1
SHARD_BYTES = 512 << 20  # at which a shard is closed


@dataclass(frozen=True)
class Place:
    """Where an image is: the shard's name, and the offset and size of the image in it, in bytes."""

    shard: str
    offset: int
    size: int


def read_index(folder: Path) -> dict[str, Place]:
    """Return the place of each image by its path in a snapshot; empty if the folder has no shards.

    Raises `DataError` if the index is not one.
    """
    path = folder / INDEX
    try:
        content = json.loads(path.read_bytes())
        if content["format"] != FORMAT or content["version"] != VERSION:
            raise ValueError(f"its format is {content['format']} {content['version']}")
        return {name: Place(*place) for name, place in content["images"].items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not an index of image shards ({error}). Take a new snapshot.") from error


class ShardWriter:
    """Adds images to the shards of a folder. A shard is listed once it is complete, so a killed command resumes after
    the last complete one. Use it as a context manager."""

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.shard_bytes = folder, shard_bytes
        self.index = read_index(folder)
        self.number = len({place.shard for place in self.index.values()})
        self.unlisted: dict[str, str] = {}  # name in the shard -> path
        self.tar: tarfile.TarFile | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._finish_shard()
        elif self.tar is not None:
            self.tar.close()
            self._unfinished().unlink()

    def __contains__(self, path: str) -> bool:
        return path in self.index or PurePosixPath(path).name in self.unlisted

    def add(self, path: str, data: bytes) -> None:
        """Append an image, given by its path in a snapshot."""
        if self.tar is None:
            self.tar = tarfile.open(self._unfinished(), "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - `_finish_shard`
        member = tarfile.TarInfo(PurePosixPath(path).name)
        member.size = len(data)
        self.tar.addfile(member, io.BytesIO(data))
        self.unlisted[member.name] = path
        if self.tar.offset >= self.shard_bytes:
            self._finish_shard()

    def _finish_shard(self) -> None:
        if self.tar is None:
            return
        self.tar.close()
        self.tar = None
        name = f"images-{self.number:05}.tar"
        with tarfile.open(self._unfinished(), "r:") as written:
            for member in written:
                self.index[self.unlisted[member.name]] = Place(name, member.offset_data, member.size)
        with self._unfinished().open("rb+") as file:
            os.fsync(file.fileno())
        self._unfinished().replace(self.folder / name)
        self.unlisted.clear()
        self.number += 1
        images = {path: [place.shard, place.offset, place.size] for path, place in self.index.items()}
        content: dict[str, Any] = {"format": FORMAT, "version": VERSION, "images": images}
        write_atomic(self.folder / INDEX, json.dumps(content).encode())

    def _unfinished(self) -> Path:
        return self.folder / f"images-{self.number:05}.tar.part"


class Shards:
    """The shards of a folder, opened for reading. Threads and forked processes can share it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = read_index(folder)
        self.present = {name for name in {place.shard for place in self.index.values()} if (folder / name).is_file()}
        self.files: dict[str, int] = {}

    def __contains__(self, path: str) -> bool:
        place = self.index.get(path)
        return place is not None and place.shard in self.present

    def read(self, path: str) -> bytes:
        """Return an image's PNG, given its path in a snapshot. Raises `OSError`, or `KeyError` if it is not listed."""
        place = self.index[path]
        if place.shard not in self.files:
            self.files[place.shard] = os.open(self.folder / place.shard, os.O_RDONLY)
        return os.pread(self.files[place.shard], place.size, place.offset)


@lru_cache(maxsize=8)
def _opened(folder: Path, version: int) -> Shards:
    return Shards(folder)


def open_shards(folder: Path) -> Shards:
    """Return the shards of a folder, read once for each version of its index."""
    path = folder / INDEX
    return _opened(folder, path.stat().st_mtime_ns if path.exists() else 0)
