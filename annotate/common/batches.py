"""Split an iterable into batches."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(elements: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` elements, in order."""
    iterator = iter(elements)
    while batch := list(islice(iterator, size)):
        yield batch
