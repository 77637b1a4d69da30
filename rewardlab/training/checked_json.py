"""Decoding of JSON from other programs, possibly truncated, by a schema of msgspec structs.

The schema is strict about types and ignores unknown keys. Errors name the key and can be shown on a page.
"""

import datetime as dt
import json
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import UNSET, Struct

T = TypeVar("T")
LONGEST_QUOTED = 60  # characters of a key or a value in a message

# The bounds reject infinity and NaN, which Python's JSON writes and reads, and implausible figures.
Figure = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]

MEANINGS = {
    float: "is not a finite number",
    int: "is not a count",
    str: "is not a string",
    bool: "is neither true nor false",
    list: "is not a list",
    dict: "is not an object",
    dt.datetime: "is not a time",
}


class Unreadable(ValueError):
    """A file cannot be used; the message can be shown on a page."""


def read(path: Path, kind: type[T]) -> T:
    """Decode a file in which every value must match the schema. Raises `Unreadable`."""
    return decode(_content(path), kind, path.name)


def read_what_fits(path: Path, kind: type[T], problems: list[str]) -> T:
    """Decode a file; values that do not match are described in `problems`. Raises `Unreadable` if nothing is usable."""
    found = decode_what_fits(_content(path), kind, path.name, problems)
    if found is None:
        raise Unreadable(problems[0])
    return found


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise Unreadable(f"{path.name} is missing") from None
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be read: {error.strerror}") from error


def decode(data: bytes, kind: type[T], where: str) -> T:
    """Decode JSON in which every value must match the schema. Raises `Unreadable` naming the first that does not."""
    problems: list[str] = []
    found = decode_what_fits(data, kind, where, problems)
    if found is None or problems:
        raise Unreadable(problems[0])
    return found


def decode_what_fits(data: bytes, kind: type[T], where: str, problems: list[str]) -> T | None:
    """Decode JSON, describe each value that does not match in `problems`, and use its default instead.

    Returns None if the data is not JSON or a value without a default does not match.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # json accepts a little more, such as NaN, so that the value can be named
    try:
        value = json.loads(data)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair cannot be shown on a page
    except (ValueError, RecursionError):
        problems.append(f"{where} is not valid JSON, or is truncated")
        return None
    found = _what_fits(value, kind, where, "", problems)
    return None if found is UNSET else found


def encode(value: Struct, *, indent: int | None = None) -> bytes:
    """Encode a struct.

    Python's json is used because msgspec writes non-finite figures as null, which means not measured.
    """
    plain = msgspec.to_builtins(value, builtin_types=(dt.datetime,), enc_hook=_number)
    return json.dumps(plain, indent=indent, default=dt.datetime.isoformat).encode()


def _number(value: object) -> float:
    if isinstance(value, float):  # of NumPy
        return float(value)
    raise NotImplementedError(f"{type(value).__name__} cannot be written as JSON")


def _what_fits(value: Any, kind: Any, where: str, name: str, problems: list[str]) -> Any:
    """Convert `value` without the parts that do not match; return UNSET if nothing is left.

    where: the file or line and the keys above `name`, which is empty for the whole document.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError:
        pass
    kind, inner = _plain_kind(kind), f"{where}, {name[:LONGEST_QUOTED]}" if name else where
    origin, parts = get_origin(kind) or kind, get_args(kind)
    if isinstance(origin, type) and issubclass(origin, Struct):
        if isinstance(value, dict):
            return _what_fits_of_struct(value, origin, inner, problems)
        origin = dict
    elif origin is dict and isinstance(value, dict):
        entries = {key: _what_fits(entry, parts[1], inner, key, problems) for key, entry in value.items()}
        return {key: entry for key, entry in entries.items() if entry is not UNSET}
    elif origin is list and isinstance(value, list):
        rows = [_what_fits(row, parts[0], inner, _entry(n, row), problems) for n, row in enumerate(value, start=1)]
        return [row for row in rows if row is not UNSET]
    meaning = f"has an unknown value: {str(value)[:LONGEST_QUOTED]}" if origin is Literal else MEANINGS[origin]
    problems.append(_message(where, name, meaning))
    return UNSET


def _entry(number: int, row: Any) -> str:
    """Name an entry of a list by its number, and by its first value if that is a string."""
    first = next(iter(row.values()), None) if isinstance(row, dict) else None
    return f"entry {number} ({first})" if isinstance(first, str) else f"entry {number}"


def _what_fits_of_struct(value: dict[str, Any], kind: type[Struct], where: str, problems: list[str]) -> Any:
    found = {}
    for field in msgspec.structs.fields(kind):
        if field.name in value:
            found[field.name] = _what_fits(value[field.name], field.type, where, field.name, problems)
        elif field.required:
            problems.append(_message(where, field.name, "is missing"))
            return UNSET
        if field.required and found[field.name] is UNSET:
            return UNSET
    return kind(**{name: entry for name, entry in found.items() if entry is not UNSET})


def _plain_kind(kind: Any) -> Any:
    """Strip bounds, None and UNSET from a type."""
    if get_origin(kind) is Annotated:
        return _plain_kind(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return _plain_kind(next(part for part in get_args(kind) if part not in (NoneType, msgspec.UnsetType)))
    return kind


def _message(where: str, name: str, meaning: str) -> str:
    return f"{where}: “{name[:LONGEST_QUOTED]}” {meaning}" if name else f"{where} {meaning}"
