"""Which faces a step sees: a function of seed and step alone."""

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
    """The items of step `start`, `start` + 1, ...: one random order of all groups after the other."""
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
