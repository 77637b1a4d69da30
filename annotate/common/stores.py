"""Where files are kept, in a folder or in an S3 bucket: the storages `images` and `predictors` of the settings."""

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, storages

from rewardlab.files import AtomicFiles, write_atomic


class StoreError(RuntimeError):
    """Files cannot be read or written; the message says which, why, and what to do."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, or refuses access: a fault outside the application."""


class Store(Protocol):
    """What is used of a storage: `Folder`, or `annotate.common.s3_store.Bucket`."""

    is_local: bool

    def open(self, name: str) -> File: ...
    def save(self, name: str, content: File) -> str: ...
    def exists(self, name: str) -> bool: ...
    def delete(self, name: str) -> None: ...

    def describe(self, name: str = "") -> str:
        """Return where a file is, for messages."""

    def fault(self) -> str:
        """Return why the store cannot be used; empty if it can."""


class Folder(FileSystemStorage):
    """The folder that a setting names. A file is written atomically, and is on disk when `save` returns."""

    is_local = True

    def __init__(self, setting: str) -> None:
        super().__init__(allow_overwrite=True)
        self.setting = setting

    @property
    def base_location(self) -> Path:
        return Path(getattr(settings, self.setting))

    @property
    def location(self) -> str:
        return str(self.base_location.absolute())

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name  # a file of this name is replaced

    def _save(self, name: str, content: File) -> str:
        write_atomic(Path(self.path(name)), content.read())
        return name

    def describe(self, name: str = "") -> str:
        return str(self.base_location / name)

    def fault(self) -> str:
        existing = self.base_location if self.base_location.exists() else settings.DATA_ROOT  # made with the first file
        return "" if os.access(existing, os.W_OK | os.X_OK) else f"{self.setting} is not writable"


def store(alias: str) -> Store:
    found: Any = storages[alias]
    return found


def read(alias: str, name: str) -> bytes:
    """Return the content of a file. Raises `OSError` if it cannot be read, and `StoreUnavailable`."""
    with store(alias).open(name) as file:
        return file.read()


class Batch:
    """Files that are stored together: they count as stored when `finish` has returned. Use it as a context manager.

    A folder is flushed once for all of them. A bucket stores each durably as it comes.
    """

    def __init__(self, alias: str) -> None:
        self.store = store(alias)
        self.files = AtomicFiles(self.store.base_location) if isinstance(self.store, Folder) else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.files:
            self.files.__exit__(kind, error, at)

    def add(self, name: str, data: bytes) -> None:
        """Write a file, from any thread, unless there is one of this name. Raises `StoreUnavailable`."""
        if self.store.exists(name):
            return
        if self.files:
            self.files.add(self.files.folder / name, data)
        else:
            self.store.save(name, ContentFile(data))

    def finish(self) -> None:
        if self.files:
            self.files.finish()


def write(alias: str, name: str, data: bytes) -> None:
    """Write a file, replacing one of that name. It is stored durably when this returns. Raises `StoreUnavailable`."""
    store(alias).save(name, ContentFile(data))
