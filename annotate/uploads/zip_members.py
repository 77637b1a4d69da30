"""Members of a zip archive: refused before anything is unpacked, or unpacked under limits."""

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import IO
from zipfile import ZipFile, ZipInfo

from annotate.uploads.file_names import name_in_zip
from annotate.uploads.limits import MEGA

ENCRYPTED_FLAG = 0x1
BYTES_PER_MEMBER = 400  # of the directory of an archive, on average: name, extra fields, comment
SMALL = MEGA  # a member of this size may have any ratio
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others may need any amount of memory
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError),
    *(ValueError, IndexError, KeyError, OverflowError, RuntimeError),
)


class BadArchive(ValueError):
    """The archive as a whole cannot be used. Its text is a reason of `annotate.uploads.report`."""


class BadMember(ValueError):
    """A member cannot be unpacked. Its text is a reason of `annotate.uploads.report`."""


class _BoundedReads(FileIO):
    """A file that refuses to be read in one large piece, as the directory of a hostile archive would be."""

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(path)
        self.most = most
        self.size = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self.size - self.tell() if size is None or size < 0 else size
        if wanted > self.most:
            raise BadArchive("zip_directory")
        return super().read(size)


@dataclass(frozen=True)
class Member:
    """A file in an archive. fault: why it is refused; empty if it can be unpacked."""

    archive: ZipFile
    info: ZipInfo
    name: str
    fault: str

    @property
    def size(self) -> int:
        return self.info.file_size

    def unpack(self, target: IO[bytes], chunk: int = MEGA) -> None:
        """Write the content, at most the size that the archive states. Raises `BadMember`."""
        try:
            with self.archive.open(self.info) as source:
                written = 0
                while data := source.read(chunk):
                    written += len(data)
                    if written > self.size:
                        raise BadMember("zip_damaged")
                    target.write(data)
        except BadMember:
            raise
        except DAMAGED as error:
            if isinstance(error, OSError) and error.errno:  # of the disk, not of the archive
                raise
            raise BadMember("zip_damaged") from error


@contextmanager
def open_archive(path: Path, *, most_members: int) -> Iterator[ZipFile]:
    """Open an archive without reading an endless directory. Raises `BadArchive`."""
    with _BoundedReads(path, max(most_members * BYTES_PER_MEMBER, MEGA)) as file:
        try:
            archive = ZipFile(file)
        except BadArchive:
            raise
        except DAMAGED as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise BadArchive("zip_broken") from error
        with archive:
            yield archive


def members(archive: ZipFile, *, ratio: int) -> Iterator[Member]:
    """Yield the files of an archive, without its folders."""
    for info in archive.infolist():
        name = name_in_zip(info)
        is_folder = name.endswith("/") or (name.endswith("\\") and not info.file_size)
        if not is_folder:
            yield Member(archive, info, name, _fault(info, ratio))


def _fault(info: ZipInfo, ratio: int) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        return "link"
    if info.flag_bits & ENCRYPTED_FLAG:
        return "encrypted"
    if info.compress_type not in METHODS:
        return "method"
    if info.file_size > SMALL and info.file_size > ratio * max(1, info.compress_size):
        return "ratio"
    return ""
