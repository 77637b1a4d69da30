"""Salted hashes in place of the names of files and people, which are never stored."""

import hashlib
import hmac
from dataclasses import dataclass
from pathlib import PurePosixPath

from django.conf import settings

from rewardlab.text_files import nfc


def hashed(name: str) -> str:
    """Return 32 hex digits: stable within this installation (salt NAME_SALT), unrelated to those of any other."""
    return hmac.new(settings.NAME_SALT.encode(), name.encode(), hashlib.sha256).hexdigest()[:32]


@dataclass(frozen=True)
class FileKeys:
    """The salted hashes by which a file is recognised within its data set.

    path: of the path in the data set, which identifies the file. name: of the path without its suffix, since a
    restoration may have another one. stem: of the file's name alone, without its suffix.
    """

    path: str
    name: str
    stem: str


def file_keys(relative: str) -> FileKeys:
    """Hash a path relative to the root of its data set, such as `alice/0001.jpg`."""
    path = PurePosixPath(nfc(relative))
    return FileKeys(hashed(path.as_posix()), hashed(path.with_suffix("").as_posix()), hashed(path.stem))


def identity_key(dataset: str, name: str) -> str:
    """Hash a person's name. Equal names in two data sets are two people."""
    return hashed(f"{dataset}/{nfc(name)}")


def pseudonym(annotator: int) -> str:
    """Return 16 hex digits that identify an annotator in all exported files of this installation."""
    return hashed(f"annotator/{annotator}")[:16]
