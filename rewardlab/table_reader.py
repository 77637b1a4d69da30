"""Read tables that people and other programs write: CSV, JSON and JSON lines.

Each row is read as a `Row`, or as a `BadRow` with what was found and what to do; one bad row never ends the reading.
The file as a whole is refused with `TableError`. JSON is decoded by the standard library: ijson 3.6 replaces lone
surrogates without notice, keeps the last of repeated keys, and cannot continue after NaN.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from itertools import chain
from pathlib import Path
from typing import IO, Any

from rewardlab.table_cells import CellError, Column, Kind, is_missing, read_cell, shown, type_of
from rewardlab.text_files import TextError, open_text, printable

CSV_SUFFIXES, JSON_SUFFIXES = (".csv", ".tsv"), (".json", ".jsonl", ".ndjson")
SUFFIXES = CSV_SUFFIXES + JSON_SUFFIXES
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
CHUNK = 1 << 16
LONGEST_ENTRY = 1 << 26  # characters of one entry of a JSON list
MOST_DIGITS = 300  # more digits than any float has; Python refuses integers of more than 4300
SPACE = re.compile(r"\s*")


class TableError(ValueError):
    """The file cannot be read as a table. The message names the file, the cause and the remedy."""


@dataclass(frozen=True)
class Row:
    """where: the file and the row, for messages. values: of every declared column; an empty text or None is missing."""

    where: str
    values: dict[str, Any]


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used. reason: a slug. values: those cells that could be read."""

    where: str
    reason: str
    detail: str
    values: dict[str, Any] = field(default_factory=dict)


class _Object(dict[str, Any]):
    """A JSON object that remembers repeated keys, of which a plain dict keeps the last."""

    repeated: tuple[str, ...] = ()


class Table:
    """Reader of tables with these columns. zone: of times that state none; `naive_times` counts them.

    `found`: the columns of the CSV, or the keys of the first object, in lower case.
    """

    def __init__(self, columns: Sequence[Column], *, zone: tzinfo = UTC) -> None:
        self.columns = columns
        self.zone = zone
        self.naive_times = 0
        self.found: set[str] = set()

    def read(self, path: Path, *, any_of: Sequence[Sequence[str]] = ()) -> Iterator[Row | BadRow]:
        """Yield the rows of a file; its suffix names the format. Raises `TableError` before the first row.

        any_of: the header of a CSV must have all columns of one of these groups.
        """
        if path.suffix.lower() not in SUFFIXES:
            raise TableError(f"{printable(path)} is not a table: its name must end in {', '.join(SUFFIXES)}.")
        with _opened(path) as file:
            if path.suffix.lower() in CSV_SUFFIXES:
                yield from self._read_csv(file, path, any_of)
            else:
                yield from self._read_json(file, path)

    def row(self, where: str, found: Mapping[str, Any], *, comma_is_decimal: bool = False) -> Row | BadRow:
        """Check one row. found: column or key -> value, with any case and surrounding spaces."""
        by_name = {str(name).strip().casefold(): value for name, value in found.items()}
        values: dict[str, Any] = {}
        wrong = []
        for column in self.columns:
            value = by_name.get(column.name)
            if is_missing(value):
                values[column.name] = "" if column.kind in (Kind.TEXT, Kind.NAME) else None
                if column.required and not (column.may_be_empty and column.name in by_name):
                    wrong.append((f"no_{column.name}", f"the column {column.name} is empty or missing"))
                continue
            try:
                cell = read_cell(value, column.kind, comma_is_decimal=comma_is_decimal)
                values[column.name] = self._in_utc(cell) if column.kind == Kind.TIME else cell
            except CellError as error:
                wrong.append((f"bad_{column.kind}", f"the column {column.name} {error}"))
        if not wrong:
            return Row(where, values)
        return BadRow(where, wrong[0][0], "; ".join(detail for _, detail in wrong), values)

    def _in_utc(self, at: datetime) -> datetime:
        if at.tzinfo is None:
            self.naive_times += 1
            at = at.replace(tzinfo=self.zone)
        try:
            return at.astimezone(UTC)
        except OverflowError as error:
            raise CellError(f"is {at.isoformat()}, which is out of range") from error

    def _read_csv(self, file: IO[str], path: Path, any_of: Sequence[Sequence[str]]) -> Iterator[Row | BadRow]:
        names, delimiter, lines = self._header(file, path, any_of)
        # Strict, since a quotation mark that is never closed would otherwise swallow the rows that follow.
        reader, number = csv.reader(file, delimiter=delimiter, strict=True), 1
        while True:
            number, line = number + 1, lines + reader.line_num + 1
            where = f"{printable(path.name)}, row {number}"
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                end = lines + reader.line_num
                span = f"line {line}" if end <= line else f"lines {line} to {end}"
                detail = f"{span} cannot be read ({error}): check the quotation marks"
                yield BadRow(where, "bad_row", detail)
                continue
            if not any(map(str.strip, cells)):
                continue
            yield self._csv_row(where, names, cells, delimiter)

    def _csv_row(self, where: str, names: list[str], cells: list[str], delimiter: str) -> Row | BadRow:
        extra, missing = cells[len(names) :], names[len(cells) :]
        if any(map(str.strip, extra)):
            surplus = ", ".join(shown(cell) for cell in extra[:3])
            remedy = f"put text that contains a {DELIMITERS.get(delimiter, delimiter)} in quotation marks"
            detail = f"it has {len(cells)} cells, but the header has {len(names)} (extra: {surplus}): {remedy}"
            return BadRow(where, "extra_cells", detail)
        if missing:
            detail = f"it has {len(cells)} cells, but the header has {len(names)} (missing: {', '.join(missing)})"
            return BadRow(where, "missing_cells", detail)
        return self.row(where, dict(zip(names, cells, strict=False)), comma_is_decimal=delimiter != ",")

    def _header(self, file: IO[str], path: Path, any_of: Sequence[Sequence[str]]) -> tuple[list[str], str, int]:
        """Read the header. Return the column names in lower case, the delimiter that finds most of the declared
        columns, and the number of lines read."""
        first, lines = file.readline(), 1
        if found := re.fullmatch(r"sep=(.)\s*", first, re.IGNORECASE):  # Excel's own way to name the delimiter
            delimiters, first, lines = [found[1]], file.readline(), 2
        else:
            delimiters = list(DELIMITERS)
        headers: dict[str, list[str]] = {}
        for delimiter in delimiters:
            try:
                headers[delimiter] = next(csv.reader([first], delimiter=delimiter, strict=True), [])
            except csv.Error as error:
                why = error
        if not headers:
            raise TableError(f"{printable(path)}: the header cannot be read ({why}).")
        known = {column.name for column in self.columns}
        lowered = {key: [name.strip().casefold() for name in names] for key, names in headers.items()}
        delimiter = max(lowered, key=lambda key: len(known & set(lowered[key])))
        self.require_columns(path, headers[delimiter], any_of=any_of)
        return lowered[delimiter], delimiter, lines

    def require_columns(self, path: Path, header: Sequence[str], *, any_of: Sequence[Sequence[str]] = ()) -> None:
        """Raise `TableError` unless the header has the required columns, and each declared column once."""
        names = [name.strip().casefold() for name in header]
        self.found = set(names)
        found = ", ".join(shown(name.strip()) for name in header[:20]) or "none"
        if missing := [column.name for column in self.columns if column.required and column.name not in names]:
            raise TableError(
                f"{printable(path)}: the header lacks the column {', '.join(missing)}. Columns found: {found}."
            )
        if any_of and not any(set(group) <= set(names) for group in any_of):
            wanted = ", or ".join(" and ".join(group) for group in any_of)
            raise TableError(f"{printable(path)}: the header lacks the column {wanted}. Columns found: {found}.")
        if repeated := [column.name for column in self.columns if names.count(column.name) > 1]:
            raise TableError(f"{printable(path)}: the header has the column {', '.join(repeated)} twice. Remove one.")

    def _read_json(self, file: IO[str], path: Path) -> Iterator[Row | BadRow]:
        for where, value in _entries(file, path):
            if isinstance(value, BadRow):
                yield value
            elif not isinstance(value, dict):
                yield BadRow(where, "bad_row", f"it is {type_of(value)}, not an object with the columns as its keys")
            elif repeated := getattr(value, "repeated", ()):
                yield BadRow(where, "bad_row", f"the key {', '.join(map(shown, repeated))} occurs twice: remove one")
            else:
                self.found = self.found or {str(name).strip().casefold() for name in value}
                yield self.row(where, value)


def read_entries(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a JSON list, or the lines of JSON lines, each with its place in the file.

    An entry that cannot be decoded is a `BadRow`. Nothing that follows a syntax error inside a list can be read.
    Raises `TableError` if the file is not text, is empty, or starts with neither.
    """
    with _opened(path) as file:
        yield from _entries(file, path)


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    try:
        with open_text(path) as file:
            yield file
    except TextError as error:
        raise TableError(str(error)) from error
    except OSError as error:
        raise TableError(f"{printable(path)} cannot be read: {error.strerror}.") from error


def _entries(file: IO[str], path: Path) -> Iterator[tuple[str, Any]]:
    name = printable(path.name)
    start = ""
    while not start.strip() and (line := file.readline()):
        start += line
    if not start.strip():
        raise TableError(f"{printable(path)} is empty.")
    if start.lstrip().startswith("["):
        yield from _list_entries(file, start, path)
        return
    lines = start.count("\n")
    is_jsonl = path.suffix.lower() != ".json"
    for number, line in enumerate(chain([start.lstrip()], file), start=max(lines, 1)):
        where = f"{name}, line {number}"
        if not line.strip():
            continue
        try:
            yield where, _DECODER.decode(line.strip())
        except (ValueError, RecursionError) as error:
            if number == max(lines, 1) and not is_jsonl:
                raise TableError(f"{printable(path)} is not a JSON list ({_why(error)}).") from error
            yield where, BadRow(where, "bad_row", f"it is not valid JSON ({_why(error)})")


def _list_entries(file: IO[str], text: str, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield the entries of a JSON list without loading the whole list."""
    name, place, number, expected = printable(path.name), text.index("[") + 1, 1, ""
    while True:
        where = f"{name}, entry {number}"
        place = space.end() if (space := SPACE.match(text, place)) else place
        mark = text[place : place + 1]
        try:
            if mark == "]" and (expected or number == 1):
                if (text[place + 1 :] + file.read(CHUNK)).strip():
                    yield where, BadRow(where, "bad_row", "text follows the end of the list: remove it")
                return
            if expected and mark != expected:
                raise json.JSONDecodeError("a comma or ] is missing", text, place)
            if expected:
                place, expected = place + 1, ""
                continue
            value, end = _DECODER.raw_decode(text, place)
            if end == len(text) and not isinstance(value, dict | list | str):
                raise ValueError("it is cut off")  # unless the number goes on in the next chunk
        except (ValueError, RecursionError) as error:
            more = "" if isinstance(error, RecursionError) or len(text) - place > LONGEST_ENTRY else file.read(CHUNK)
            if more:
                text, place = text[place:] + more + file.read(len(text) - place), 0
                continue
            if number == 1:
                raise TableError(f"{printable(path)} is not a JSON list ({_why(error)}).") from error
            yield where, BadRow(where, "bad_row", f"the file cannot be read from here on ({_why(error)})")
            return
        yield where, value
        place, number, expected = end, number + 1, ","


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len({name.strip().casefold() for name, _ in pairs}) < len(pairs):
        counts = Counter(name.strip().casefold() for name, _ in pairs)
        found.repeated = tuple(name for name, count in counts.items() if count > 1)
    return found


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= MOST_DIGITS else float(text)


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer)


def _why(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
