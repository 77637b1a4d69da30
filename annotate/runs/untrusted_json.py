"""JSON that another program wrote, perhaps half: every value is checked on its way in."""

import json
import struct
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PNG = struct.Struct(">8s4x4sII")  # signature, length, the first chunk's name, width, height
LARGEST_SIDE = 16_384  # pixels
LARGEST = 1e15  # beyond it is no figure of ours; infinity and NaN, which Python's JSON lets pass, are beyond too


class Unreadable(ValueError):
    """What is wrong with a file, in words for the page."""


def read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise Unreadable(f"{path.name} is missing") from None
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{path.name} is no JSON, or not all of it is there") from error
    if not isinstance(found, dict):
        raise Unreadable(f"{path.name} is not an object")
    return found


def row_of(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def as_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def as_objects(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def as_number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and -LARGEST < value < LARGEST else None


def as_integer(value: Any) -> int | None:
    number = as_number(value)
    return None if number is None else int(number)


def as_count(value: Any) -> int:
    return max(as_integer(value) or 0, 0)


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def as_texts(value: Any) -> dict[str, str]:
    return {name: as_text(entry) for name, entry in as_object(value).items()}


def as_time(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def checked(found: dict[str, Any], name: str, where: str, problems: list[str]) -> float | None:
    """A number that may be absent or null; anything else is a problem."""
    number = as_number(found.get(name))
    if number is None and found.get(name) is not None:
        problems.append(f"{where}: “{name}” is no finite number")
    return number


def file_in(folder: Path, name: str) -> Path | None:
    """The file, if it is there and really lies in the folder: a link could lead elsewhere."""
    try:
        path = (folder / name).resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return path if path.is_file() and path.is_relative_to(folder.resolve()) else None


def png_size(path: Path) -> tuple[int, int] | None:
    """Width and height, from the file's first bytes; None if it is no PNG."""
    try:
        with path.open("rb") as file:
            signature, chunk, width, height = PNG.unpack(file.read(PNG.size))
    except (OSError, struct.error):
        return None
    is_png = signature == b"\x89PNG\r\n\x1a\n" and chunk == b"IHDR"
    return (width, height) if is_png and 0 < width <= LARGEST_SIDE and 0 < height <= LARGEST_SIDE else None
