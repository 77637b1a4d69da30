"""JSON that another program wrote, perhaps half of it: decoded by a schema of msgspec structs.

The schema is strict about types and ignores keys that it does not know. What is wrong is described by its key, in
words for a page.
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

# The bounds refuse infinity and NaN, which Python's JSON writes and reads, and what no figure of a run can be.
Figure = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]

MEANINGS = {
    float: "is not a finite number",
    int: "is not a count",
    str: "is not a text",
    bool: "is neither true nor false",
    list: "is not a list",
    dict: "is not an object",
    dt.datetime: "is not a time",
}


class Unreadable(ValueError):
    """What is wrong with a file, in words for a page."""


def read(path: Path, kind: type[T]) -> T:
    """Decode a file as a whole. Raises `Unreadable`."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise Unreadable(f"{path.name} is missing") from None
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be read: {error.strerror}") from error
    return decode(data, kind, path.name)


def decode(data: bytes, kind: type[T], where: str) -> T:
    """Decode JSON of which every value must fit. Raises `Unreadable`, which names the first that does not."""
    problems: list[str] = []
    found = decode_what_fits(data, kind, where, problems)
    if found is None or problems:
        raise Unreadable(problems[0])
    return found


def decode_what_fits(data: bytes, kind: type[T], where: str, problems: list[str]) -> T | None:
    """Decode JSON, describe each value that does not fit in `problems`, and use its default instead.

    None: there is no JSON, or a value without a default does not fit.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass  # json reads a little more, such as NaN, and so the value can be named
    try:
        value = json.loads(data)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair could not be shown on any page
    except (ValueError, RecursionError):
        problems.append(f"{where} is not JSON, or not all of it is there")
        return None
    found = _what_fits(value, kind, where, "", problems)
    return None if found is UNSET else found


def encode(value: Struct, *, indent: int | None = None) -> bytes:
    """Encode a struct.

    Python's json writes it: msgspec would write a figure that is not finite as null, which reads as not measured.
    """
    plain = msgspec.to_builtins(value, builtin_types=(dt.datetime,), enc_hook=_number)
    return json.dumps(plain, indent=indent, default=dt.datetime.isoformat).encode()


def _number(value: object) -> float:
    if isinstance(value, float):  # of NumPy
        return float(value)
    raise NotImplementedError(f"{type(value).__name__} cannot be written as JSON")


def _what_fits(value: Any, kind: Any, where: str, name: str, problems: list[str]) -> Any:
    """`value` as a `kind`, without the parts that do not fit; UNSET if nothing is left of it.

    where: the file or line and the keys that lead to `name`, which is empty for the whole.
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
        rows = [_what_fits(row, parts[0], inner, f"entry {n}", problems) for n, row in enumerate(value, start=1)]
        return [row for row in rows if row is not UNSET]
    meaning = f"has an unknown value: {str(value)[:LONGEST_QUOTED]}" if origin is Literal else MEANINGS[origin]
    problems.append(_said(where, name, meaning))
    return UNSET


def _what_fits_of_struct(value: dict[str, Any], kind: type[Struct], where: str, problems: list[str]) -> Any:
    found = {}
    for field in msgspec.structs.fields(kind):
        if field.name in value:
            found[field.name] = _what_fits(value[field.name], field.type, where, field.name, problems)
        elif field.required:
            problems.append(_said(where, field.name, "is missing"))
            return UNSET
        if field.required and found[field.name] is UNSET:
            return UNSET
    return kind(**{name: entry for name, entry in found.items() if entry is not UNSET})


def _plain_kind(kind: Any) -> Any:
    """Without bounds, and without the null or absence that it may be as well."""
    if get_origin(kind) is Annotated:
        return _plain_kind(get_args(kind)[0])
    if get_origin(kind) in (Union, UnionType):
        return _plain_kind(next(part for part in get_args(kind) if part not in (NoneType, msgspec.UnsetType)))
    return kind


def _said(where: str, name: str, meaning: str) -> str:
    return f"{where}: “{name[:LONGEST_QUOTED]}” {meaning}" if name else f"{where} {meaning}"
