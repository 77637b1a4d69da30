"""Text files that people write: UTF-8 or UTF-16, checked as a whole before use. File names, compared and displayed."""

import codecs
import os
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

CHUNK = 1 << 20
UTF16_BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
UTF32_BOMS = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
SAMPLE = 4096
TAB = 9  # text has no characters before it
SHARE_OF_NULS = 0.2  # half of the bytes of ASCII text in UTF-16 are NUL


class TextError(ValueError):
    """A file is not usable text. The message names the file, the cause and the remedy."""


def read_text(path: Path) -> str:
    """Return the file's text without a byte-order mark. Raises `TextError` or `OSError`."""
    with open_text(path) as file:
        text = file.read()
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise TextError(f"{printable(path)} has a NUL character in line {line}: remove it.")
    return text


@contextmanager
def open_text(path: Path) -> Iterator[IO[str]]:
    """Open the file for reading, with line ends unchanged, after decoding it once. Raises `TextError` or `OSError`."""
    encoding = _checked_encoding(path)
    with path.open(encoding=encoding, newline="") as file:
        yield file


def nfc(name: str) -> str:
    """Return the name in the form NFC, in which names are compared: some systems write “é” as “e” and an accent."""
    return unicodedata.normalize("NFC", name)


class FolderNames:
    """Finds files by names of any Unicode form. Each folder is listed once."""

    def __init__(self) -> None:
        self._listed: dict[Path, dict[str, list[Path]]] = {}

    def find(self, path: Path) -> Path:
        """Return the path if it exists or no single existing path differs from it only in form; else that path."""
        if os.path.lexists(path) or path.as_posix().isascii():
            return path
        folder = self.find(path.parent)
        if folder not in self._listed:
            names: dict[str, list[Path]] = {}
            with suppress(OSError):  # whoever opens the file reports it
                for entry in folder.iterdir():
                    names.setdefault(nfc(entry.name), []).append(entry)
            self._listed[folder] = names
        found = self._listed[folder].get(nfc(path.name), [])
        return found[0] if len(found) == 1 else path


def printable(name: str | os.PathLike[str]) -> str:
    r"""Return a file name that can be printed: bytes that are not valid UTF-8 appear as \xfc."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_utf8_name(name: str | os.PathLike[str]) -> bool:
    """Check whether a file name is valid UTF-8. Python represents other bytes by lone surrogates."""
    try:
        os.fspath(name).encode()
    except UnicodeEncodeError:
        return False
    return True


def _checked_encoding(path: Path) -> str:
    with path.open("rb") as file:
        sample = file.read(SAMPLE)
        encoding = _encoding_by_start(path, sample)
        decoder = codecs.getincrementaldecoder(encoding)()
        file.seek(0)
        lines = 1
        try:
            while chunk := file.read(CHUNK):
                lines += decoder.decode(chunk).count("\n")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError as error:
            if encoding != "utf-16" and min(sample) < TAB:
                raise TextError(f"{printable(path)} is not text in UTF-8. It is not a text file.") from error
            raise TextError(_why_undecodable(path, encoding, error, lines)) from error
    return encoding


def _encoding_by_start(path: Path, sample: bytes) -> str:
    """Return the encoding by the byte-order mark, UTF-8 without one. Raises `TextError` for what is clearly neither."""
    if sample.startswith(UTF32_BOMS):
        found = "It is UTF-32"
    elif sample.startswith(UTF16_BOMS):
        return "utf-16"
    elif sample.startswith(b"PK\x03\x04"):
        found = "It is a zip file, such as a spreadsheet (.xlsx, .ods)"
    elif sample.count(0) > SHARE_OF_NULS * len(sample):
        found = "It is UTF-16 without a byte-order mark, or not a text"
    else:
        return "utf-8-sig"
    raise TextError(f"{printable(path)} is not text in UTF-8. {found}. Save it as UTF-8 text (CSV UTF-8).")


def _why_undecodable(path: Path, encoding: str, error: UnicodeDecodeError, lines: int) -> str:
    if encoding == "utf-16":
        return f"{printable(path)} starts like UTF-16, but is cut off or damaged ({error.reason}). Save it as UTF-8."
    line = lines + error.object[: error.start].count(b"\n")
    return (
        f"{printable(path)} is not text in UTF-8: line {line} has the byte 0x{error.object[error.start]:02X}. It may "
        "be in Windows-1252 (Latin-1). Save it as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 OLD > NEW"
    )
