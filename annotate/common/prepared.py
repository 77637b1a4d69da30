"""Queries whose SQL is composed once, for the few requests that every answer of an annotator needs.

Composing SQL takes most of the processor time of such a request: Django does it anew for each query. A query here is
described as a queryset over placeholders; its SQL is kept, and each call only fills in values. Rows become objects by
Django's own code.
"""

import copy
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from django.db import connection
from django.db.models import DateTimeField, Field, QuerySet, UUIDField, sql

Row = TypeVar("Row")
Value = int | str | datetime | uuid.UUID
# Type of a parameter -> placeholders that no description contains otherwise.
_PLACEHOLDERS: dict[type, Callable[[int], Value]] = {
    int: lambda number: 1_912_345_000 + number,
    str: lambda number: f"placeholder-1912345{number}",
    datetime: lambda number: datetime(1871, 3, 4, 5, 6, 7, tzinfo=UTC) + timedelta(days=number),
    uuid.UUID: lambda number: uuid.UUID(int=(1_912_345_000 << 64) + number),
}
_FIELDS: dict[type, Field] = {datetime: DateTimeField(), uuid.UUID: UUIDField()}


class _Statement:
    """SQL and its parameters for one database, with the places of each named value."""

    def __init__(self, compiler: Any, placeholders: Mapping[str, Value]) -> None:
        self.compiler = compiler
        self.sql, params = compiler.as_sql()
        self.params = list(params)
        self.places = {
            name: [place for place, value in enumerate(self.params) if value == _adapted(placeholder)]
            for name, placeholder in placeholders.items()
        }
        if unused := [name for name, places in self.places.items() if not places]:
            raise ValueError(f"the query does not use {', '.join(unused)}, or changes it before it is sent")

    def filled(self, values: Mapping[str, Value]) -> tuple[str, tuple[Any, ...]]:
        params = self.params.copy()
        for name, places in self.places.items():
            for place in places:
                params[place] = _adapted(values[name])
        return self.sql, tuple(params)


class _Described(ABC):
    """A description and its statements. types: of the named values, int, str, datetime or UUID."""

    def __init__(self, describe: Callable[..., Any], types: Mapping[str, type]) -> None:
        self.describe = describe
        self.placeholders = {name: _PLACEHOLDERS[kind](n) for n, (name, kind) in enumerate(types.items())}
        self.statements: dict[str, _Statement] = {}

    def statement(self) -> _Statement:
        if (found := self.statements.get(connection.vendor)) is None:
            found = _Statement(self.compiler(), self.placeholders)
            self.statements[connection.vendor] = found
        return found

    @abstractmethod
    def compiler(self) -> Any:
        """Return Django's compiler of the query over the placeholders."""


class Prepared(_Described, Generic[Row]):
    """A query. describe: returns a queryset from values by name, and may neither prefetch nor depend on the values.

    Calling it with the values returns the rows. With `select_for_update` its first call must be in a transaction.
    """

    def __init__(self, describe: Callable[..., "QuerySet[Any, Row]"], **types: type) -> None:
        super().__init__(describe, types)

    def __call__(self, **values: Value) -> list[Row]:
        statement = self.statement()
        compiler = copy.copy(statement.compiler)
        compiler.connection, filled = connection, statement.filled(values)
        compiler.as_sql = lambda: filled
        query = copy.copy(self.rows.query)
        query.get_compiler = lambda *_args, **_options: compiler
        # What Django's iterables read of a queryset.
        rows = SimpleNamespace(
            db=connection.alias, query=query, _fields=self.rows._fields, _known_related_objects={}, _hints={}
        )
        return list(self.rows._iterable_class(rows))

    def first(self, **values: Value) -> Row | None:
        """Return the first row. The queryset should be limited to one."""
        return next(iter(self(**values)), None)

    def compiler(self) -> Any:
        self.rows: Any = self.describe(**self.placeholders)
        return self.rows.query.get_compiler(connection=connection)


class PreparedUpdate(_Described):
    """An update. describe: returns a queryset and the new values by field, from values by name."""

    def __init__(self, describe: Callable[..., tuple["QuerySet[Any]", dict[str, Any]]], **types: type) -> None:
        super().__init__(describe, types)

    def __call__(self, **values: Value) -> int:
        """Execute it. Returns the number of rows that matched."""
        with connection.cursor() as cursor:
            cursor.execute(*self.statement().filled(values))
            return cursor.rowcount

    def compiler(self) -> Any:
        rows, changes = self.describe(**self.placeholders)
        query = rows.query.chain(sql.UpdateQuery)
        query.add_update_values(changes)
        query.annotations = {}
        query.clear_ordering(force=True)
        return query.get_compiler(connection=connection)


def _adapted(value: Value) -> Any:
    """Return a value as the database's driver takes it."""
    field = _FIELDS.get(type(value))
    return field.get_db_prep_value(value, connection, prepared=True) if field else value
