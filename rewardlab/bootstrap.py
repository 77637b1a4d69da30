"""Bootstrap intervals over faces, since pairs of one face are not independent. Requires only numpy."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
MIN_CLUSTERS = 6  # with five, all differences share a sign by chance in 2 of 32 cases, more than 5%: no interval
FEW_FACES = 30  # with fewer, means and intervals are unreliable

Interval = tuple[float | None, float | None]
Verdict = Literal["better", "worse", "unclear"]


def drawn_times(groups: int, samples: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Resample the groups with replacement and count how often each is drawn: (samples, groups)."""
    return random.multinomial(groups, np.full(groups, 1 / groups), size=samples)


def percentile_interval(replicates: Array, level: float = 0.95) -> tuple[float, float]:
    """Return the interval that contains the central share `level` of the replicates (samples,)."""
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def verdict(low: float | None, high: float | None, *, higher_is_better: bool = True, neutral: float = 0.0) -> Verdict:
    """Return the verdict on a value with 95% interval [low, high]: unclear without an interval, or if it holds
    `neutral`, the value of no difference."""
    if low is None or high is None or low <= neutral <= high:
        return "unclear"
    return "better" if (low > neutral) == higher_is_better else "worse"


def bootstrap_interval(
    correct: NDArray[np.bool_] | Array, faces: NDArray[Any], *, samples: int, seed: int, level: float = 0.95
) -> Interval:
    """Return the percentile interval of mean(correct) when whole faces are resampled; with fewer than `MIN_CLUSTERS`
    faces (None, None). correct, faces: (N,)."""
    _, index = np.unique(faces, return_inverse=True)
    if index.max(initial=-1) + 1 < MIN_CLUSTERS:
        return None, None
    hits = np.bincount(index, weights=correct)
    pairs = np.bincount(index)
    draws = drawn_times(len(pairs), samples, np.random.default_rng(seed))
    return percentile_interval((draws @ hits) / (draws @ pairs), level)
