"""A file of decoded crops, so that a training decodes each image once instead of in every epoch."""

import hashlib
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from rewardlab.snapshot_images import DataError

CHECK_BYTES = 4


class CropCache:
    """Crops (3, S, S) of named images, rounded to 8 bits, in records of one file in `folder`.

    Several processes may read and write it. A record carries a checksum, so one that a kill cut off, or that was never
    written, counts as missing. The first images up to the limit have a record.
    """

    def __init__(self, folder: Path, names: Sequence[str], *, size: int, variant: str, limit: int) -> None:
        """names: of all images; those of a snapshot name their content. variant: what else defines a crop.

        limit: bytes. Raises `DataError` if the file cannot be created.
        """
        named = sorted(set(names))
        self.shape, self.total = (3, size, size), len(named)
        self.record = CHECK_BYTES + 3 * size * size
        self.numbers = {name: number for number, name in enumerate(named[: limit // self.record])}
        content = "\n".join([variant, str(size), *self.numbers])
        self.file = folder / f"crops-{hashlib.sha256(content.encode()).hexdigest()[:16]}.bin"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.glob("crops-*.bin"):
                if old != self.file:
                    old.unlink(missing_ok=True)
            with self.file.open("ab") as file:
                file.truncate(len(self.numbers) * self.record)  # sparse: takes space as it is written
        except OSError as error:
            raise self._unusable(error) from error

    @property
    def needed(self) -> int:
        """The limit in bytes at which all images have a record."""
        return self.total * self.record

    def __contains__(self, name: str) -> bool:
        return name in self.numbers

    def get(self, name: str) -> Tensor | None:
        """Return the crop, (3, S, S) uint8; None if it was not stored. Raises `DataError` for an unreadable file."""
        try:
            with self.file.open("rb") as file:
                file.seek(self.numbers[name] * self.record)
                stored = file.read(self.record)
        except OSError as error:
            raise self._unusable(error) from error
        pixels = stored[CHECK_BYTES:]
        if len(stored) < self.record or stored[:CHECK_BYTES] != _check(pixels):
            return None
        return torch.from_numpy(np.frombuffer(pixels, np.uint8).reshape(self.shape).copy())

    def put(self, name: str, crop: Tensor) -> None:
        """Store a crop, (3, S, S) uint8. Raises `DataError` if that is impossible, for example on a full disk."""
        pixels = crop.contiguous().numpy().tobytes()
        try:
            with self.file.open("r+b") as file:
                file.seek(self.numbers[name] * self.record)
                file.write(_check(pixels) + pixels)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> DataError:
        return DataError(
            f"The cache of crops {self.file} cannot be used ({error.strerror or error}). Free space on its disk, or "
            "train with --cache-gib 0."
        )


def _check(pixels: bytes) -> bytes:
    return zlib.crc32(pixels).to_bytes(CHECK_BYTES, "big")
