"""Intervals by a bootstrap over faces: pairs of one face are not independent. Needs numpy alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
FEW_FACES = 30  # with fewer, neither means nor intervals mean much


def bootstrap_interval(
    correct: NDArray[np.bool_] | Array, faces: NDArray[Any], *, samples: int, seed: int, level: float = 0.95
) -> tuple[float, float]:
    """Percentile interval of mean(correct) when whole faces are drawn with replacement. correct (N,), in [0, 1]."""
    _, index = np.unique(faces, return_inverse=True)
    hits = np.bincount(index, weights=correct)
    pairs = np.bincount(index)
    draws = np.random.default_rng(seed).multinomial(len(pairs), np.full(len(pairs), 1 / len(pairs)), size=samples)
    means = (draws @ hits) / (draws @ pairs)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
