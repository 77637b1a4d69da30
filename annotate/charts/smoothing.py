"""Smoothing of noisy curves, and fewer points for a screen. NaN is a gap in a curve; x ascends."""

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
LONGEST_BLOCK = 500.0  # in lengths of the average: e to this power is still a number


def smoothed(x: Column, values: Column, length: float) -> Column:
    """Return the exponential moving average: a point that lies `length` before another has 1/e of its weight.

    The weights are normalised, so that the average does not start at zero. They depend on x, so that curves with a
    value at every step and at every tenth step are smoothed alike.
    """
    result = np.full(len(x), np.nan)
    present = np.flatnonzero(~np.isnan(values))
    total = weight = 0.0
    start = 0
    while start < len(present):
        end = int(np.searchsorted(x[present], x[present[start]] + LONGEST_BLOCK * length, side="right"))
        block = present[start:end]
        before = x[present[start - 1]] if start else x[block[0]]
        decay = np.exp((before - x[block[0]]) / length)
        growing = np.exp((x[block] - x[block[0]]) / length)
        sums = np.cumsum(growing * values[block]) + total * decay
        weights = np.cumsum(growing) + weight * decay
        result[block] = sums / weights
        total, weight, start = sums[-1] / growing[-1], weights[-1] / growing[-1], end
    return result


def extremes(x: Column, values: Column, most: int) -> NDArray[np.intp]:
    """Return the indices of about `most` points: the first and the last, and the lowest, the highest and a gap of each
    of equal ranges of x. All indices if there are no more points than that."""
    if len(x) <= most or x[-1] <= x[0]:
        return np.arange(len(x))
    ranges = max(most // 2, 1)
    number = np.minimum((x - x[0]) / (x[-1] - x[0]) * ranges, ranges - 1).astype(np.intp)
    present, gaps = np.flatnonzero(~np.isnan(values)), np.flatnonzero(np.isnan(values))
    order = present[np.lexsort((values[present], number[present]))]
    change = np.flatnonzero(np.diff(number[order]))
    lowest, highest = (
        order[np.r_[0, change + 1]] if len(order) else order,
        order[np.r_[change, -1]] if len(order) else order,
    )
    first_gaps = gaps[np.unique(number[gaps], return_index=True)[1]]
    return np.unique(np.concatenate([[0, len(x) - 1], lowest, highest, first_gaps]).astype(np.intp))
