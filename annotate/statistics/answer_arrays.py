"""Annotators' answers as arrays."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]

FIRST, SECOND, CANT_TELL = range(3)
DRAWS = 2000
AT_ONCE = 4_000_000  # array elements in memory


@dataclass(frozen=True)
class Answers:
    """N answers. pairs, faces, annotators (N,): ids; choices (N,): 0 first, 1 second, 2 can't tell.

    The agreement coefficients accept any integers from 0 as choices.
    """

    pairs: Ints
    faces: Ints
    annotators: Ints
    choices: Ints

    def __len__(self) -> int:
        return len(self.pairs)

    def where(self, rows: ArrayLike) -> "Answers":
        """Select rows by a mask (N,) or indices."""
        kept = np.asarray(rows)
        return Answers(self.pairs[kept], self.faces[kept], self.annotators[kept], self.choices[kept])
