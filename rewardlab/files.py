"""Atomic writes and content hashes of files."""

import contextlib
import ctypes
import hashlib
import os
import secrets
import sys
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file atomically; it is flushed to disk when this returns.

    Creates the folder if needed. Replaces an existing file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _flush_folder(path.parent)


class AtomicFiles:
    """Files that become durable together, by two flushes for all of them instead of two for each.

    `add` writes a file under a temporary name, from any thread. `finish` flushes the contents and gives the files their
    names, which are on disk when it returns: no file ever has its name before its content is on disk. Leaving the
    context without `finish` removes the temporary files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # whose file system holds all files
        self.temporary: dict[Path, Path] = {}
        self.lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for temporary in self.temporary.values():
            temporary.unlink(missing_ok=True)
        self.temporary.clear()

    def add(self, path: Path, data: bytes) -> None:
        """Write a file, unless one of this path was added before. Creates its folder if needed."""
        with self.lock:
            if path in self.temporary:
                return
            temporary = self.temporary[path] = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)

    def finish(self) -> None:
        """Give all files their names, replacing existing files, and return when they are on disk."""
        if not self.temporary:
            return
        flush_all = _file_system_flush()
        if flush_all:
            flush_all(self.folder)
        else:
            for temporary in self.temporary.values():
                _flush_file(temporary)
        for path, temporary in self.temporary.items():
            temporary.replace(path)
        if flush_all:
            flush_all(self.folder)
        else:
            for folder in {path.parent for path in self.temporary}:
                _flush_folder(folder)
        self.temporary.clear()


@cache
def _file_system_flush() -> Callable[[Path], None] | None:
    """Return a function that flushes the file system of a folder, or None where there is none.

    Linux before 5.8 does not report failed writes through it.
    """
    release = os.uname().release if sys.platform == "linux" else ""
    if tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdecimal()) < (5, 8):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        return None

    def flush(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            if library.syncfs(descriptor):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number), str(folder))
        finally:
            os.close(descriptor)

    return flush


def _flush_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def give_usual_mode(path: Path) -> None:
    """Give a file that a library made private the permissions of any other new file, which the umask decides."""
    probe = path.with_name(f".{secrets.token_hex(6)}.mode")
    probe.touch()
    try:
        path.chmod(probe.stat().st_mode & 0o777)
    finally:
        probe.unlink()


def _flush_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened, and the rename is safe without it
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(data: bytes) -> str:
    """Return the hexadecimal SHA-256, by which images are named."""
    return hashlib.sha256(data).hexdigest()


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
