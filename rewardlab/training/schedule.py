"""Schedule of faces: the faces of a step depend only on seed and step."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np


@dataclass(frozen=True)
class Item:
    """A group to load, mirrored or not. All images of a face are mirrored together."""

    group: int
    mirrored: bool = False


def plan(groups: int, *, faces_per_step: int, seed: int, mirror: bool, start: int = 0) -> Iterator[list[Item]]:
    """Yield the items of step `start`, `start` + 1, ...; each epoch is a new random order of all groups."""
    stream = _stream(groups, seed=seed, mirror=mirror, start=start * faces_per_step)
    while True:
        yield list(islice(stream, faces_per_step))


def _stream(groups: int, *, seed: int, mirror: bool, start: int) -> Iterator[Item]:
    epoch, skip = divmod(start, groups)
    while True:
        random = np.random.default_rng([seed, epoch])
        order, mirrored = random.permutation(groups), random.random(groups) < 0.5
        yield from (Item(int(group), mirror and bool(mirrored[group])) for group in order[skip:])
        epoch, skip = epoch + 1, 0
