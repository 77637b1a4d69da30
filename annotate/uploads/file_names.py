"""Names of uploaded files: which are of an operating system, which are dangerous, and what others are stored as."""

import re
from zipfile import ZipInfo

from rewardlab.text_files import nfc

SYSTEM_FOLDERS = ("__MACOSX", ".AppleDouble", ".Trashes", ".Spotlight-V100", "$RECYCLE.BIN")
SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", ".localized", "icon\r")
RESOURCE_FORK = "._"
DRIVE = re.compile(r"[A-Za-z]:")
LONGEST_PART = 255  # bytes, of most file systems
LONGEST_PATH = 1000
DEEPEST = 20
UTF8_FLAG = 0x800


class BadName(ValueError):
    """A name that is not used. Its text is a reason of `annotate.uploads.report`."""


def is_of_system(name: str) -> bool:
    """Return whether an operating system made the file beside the photographs."""
    parts = name.replace("\\", "/").split("/")
    last = parts[-1]
    return (
        any(part in SYSTEM_FOLDERS for part in parts)
        or last.lower() in SYSTEM_FILES
        or last.startswith(RESOURCE_FORK)
    )  # fmt: skip


def safe_path(name: str) -> str:
    """Return the relative path under which a file is stored, in the form NFC. Raises `BadName`."""
    path = nfc(name.replace("\\", "/"))  # some programs for Windows write backslashes into archives
    if path.startswith("/") or DRIVE.match(path):
        raise BadName("absolute")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise BadName("parent")
    if not parts or len(parts) > DEEPEST or not all(map(_is_usable, parts)) or len(path.encode()) > LONGEST_PATH:
        raise BadName("bad_name")
    if any(part.startswith(".") for part in parts):
        raise BadName("hidden")
    return "/".join(parts)


def _is_usable(part: str) -> bool:
    try:
        encoded = part.encode()
    except UnicodeEncodeError:
        return False
    return len(encoded) <= LONGEST_PART and part.isprintable() and part == part.strip() and not part.endswith(".")


def name_in_zip(member: ZipInfo) -> str:
    """Return the name of a member. Without a flag it should be in cp437, but many programs write UTF-8."""
    name = member.orig_filename
    if member.flag_bits & UTF8_FLAG:
        return name
    try:
        return name.encode("cp437").decode()
    except UnicodeError:
        return name
