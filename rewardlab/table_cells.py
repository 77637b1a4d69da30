"""Cells of tables: the kinds of columns, and the conversion of what was found to the value of its kind."""

import math
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?", re.IGNORECASE | re.ASCII)
WHOLE = re.compile(r"(\d{1,300})([.,]0*)?", re.ASCII)
THOUSANDS = re.compile(r"[+-]?\d{1,3},\d{3}", re.ASCII)  # 1,234: one thousand, or a decimal comma?
DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?:,?\s+(\d{1,2}):(\d{2})(?::(\d{2}))?)?", re.ASCII)
ISO_START = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
FLAGS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
EXACT = 2**53  # above it a float is not exact


class Kind(StrEnum):
    TEXT = "text"
    NAME = "name"  # text, or an integer, which is read as its digits
    NUMBER = "number"
    COUNT = "count"  # an integer of 0 or more
    TIME = "time"
    FLAG = "flag"


@dataclass(frozen=True)
class Column:
    name: str  # in lower case; columns are found whatever their case
    kind: Kind = Kind.TEXT
    required: bool = False
    may_be_empty: bool = False  # if required: the column or key must be there, but may hold nothing


class CellError(ValueError):
    """A cell does not have the kind of its column. The message says what was found and what to write."""


def read_cell(value: Any, kind: Kind, *, comma_is_decimal: bool) -> Any:
    """Convert a cell that is not missing. A time that states no zone is naive. Raises `CellError`."""
    match kind:
        case Kind.TEXT | Kind.NAME:
            return _text(value, integers=kind == Kind.NAME)
        case Kind.NUMBER:
            return _number(value, comma_is_decimal=comma_is_decimal)
        case Kind.COUNT:
            return _count(value, comma_is_decimal=comma_is_decimal)
        case Kind.FLAG:
            return _flag(value)
        case Kind.TIME:
            return _time(value)


def is_missing(value: Any) -> bool:
    """Check whether a cell is null or blank."""
    return value is None or (isinstance(value, str) and not value.strip())


def type_of(value: Any) -> str:
    """Name what a value is, with an article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the value {str(value).lower()}"
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "an infinite number"
    if isinstance(value, int | float):
        return f"the number {shown(value)}"
    return "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else f"text ({shown(value)})"


def shown(value: Any) -> str:
    """Return the value for a message: short, on one line, without characters that a terminal would interpret."""
    words = value if isinstance(value, str) else repr(value)
    words = "".join(letter if letter.isprintable() else "?" for letter in words[:41])
    words = words if len(words) <= 40 else f"{words[:37]}..."
    return f"“{words}”" if isinstance(value, str) else words


def _text(value: Any, *, integers: bool) -> str:
    if integers and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise CellError(f"is {type_of(value)}, not text: write text in quotation marks, or null")
    if "\0" in value:
        raise CellError("contains a NUL character: remove it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        code = f"\\u{ord(value[error.start]):04x}"
        raise CellError(f"contains {code}, half of a character such as an emoji: write the text again") from error
    return value.strip()


def _number(value: Any, *, comma_is_decimal: bool) -> float:
    if isinstance(value, str) and NUMBER.fullmatch(words := value.strip()):
        if THOUSANDS.fullmatch(words) and not comma_is_decimal:
            remedy = f"write {words.replace(',', '.')} or {words.replace(',', '')}"
            raise CellError(f"is {shown(value)}, which has two meanings: {remedy}")
        found = float(words.replace(",", "."))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value)
    else:
        raise CellError(f"is {type_of(value)}, not a number: write it such as 3.5")
    if not math.isfinite(found):
        raise CellError(f"is {type_of(found)}, not a number: write it such as 3.5")
    return found


def _count(value: Any, *, comma_is_decimal: bool) -> int:
    if isinstance(value, str) and (digits := WHOLE.fullmatch(value.strip())):
        found = int(digits[1])
    elif isinstance(value, int) and not isinstance(value, bool):
        found = value
    else:
        number = _number(value, comma_is_decimal=comma_is_decimal)
        if not number.is_integer() or abs(number) > EXACT:
            raise CellError(f"is {type_of(value)}, not a whole number")
        found = int(number)
    if not 0 <= found < 2**63:
        raise CellError(f"is {type_of(value)}, which is out of range")
    return found


def _flag(value: Any) -> bool:
    words = str(value).strip().casefold() if isinstance(value, bool | int | str) else ""
    if words not in FLAGS:
        raise CellError(f"is {type_of(value)}, neither true nor false")
    return FLAGS[words]


def _time(value: Any) -> datetime:
    remedy = "write it in ISO 8601, such as 2026-11-28T10:00:00+01:00, or as 28.11.2026 10:00"
    words = value.strip() if isinstance(value, str) else ""
    try:
        if found := DAY_FIRST.fullmatch(words):
            day, month, year, hour, minute, second = (int(part or 0) for part in found.groups())
            return datetime(year, month, day, hour, minute, second)
        if ISO_START.match(words):
            return datetime.fromisoformat(words)
    except ValueError as error:
        raise CellError(f"is {shown(value)}, not a time that exists: {remedy}") from error
    raise CellError(f"is {type_of(value)}, not a time: {remedy}")
