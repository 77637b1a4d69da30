"""Read and process in batches."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

from django.db.models import Model, QuerySet

T = TypeVar("T")
Row = TypeVar("Row", bound=Model)
ROWS_AT_ONCE = 200


def batches(elements: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` elements, in order."""
    iterator = iter(elements)
    while batch := list(islice(iterator, size)):
        yield batch


def in_chunks(rows: QuerySet[Row]) -> Iterator[Row]:
    """Yield the rows in order, for a caller that writes meanwhile. Rows that no longer match are left out.

    `QuerySet.iterator` keeps its statement open. Then SQLite refuses every write of this process as soon as another one
    has written ("database is locked"), since the statement still reads an older state.
    """
    keys = list(rows.values_list("pk", flat=True))
    for chunk in batches(keys, ROWS_AT_ONCE):
        yield from rows.filter(pk__in=chunk)
