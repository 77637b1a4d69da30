"""Exact tests, and Holm's correction for several of them."""

import math
from collections.abc import Sequence


def fewer_than(hits: int, of: int, their_hits: int, their_of: int) -> float:
    """Return Fisher's exact one-sided p: the probability of at most `hits` if both shares are equal."""
    marked, total = hits + their_hits, of + their_of
    least = max(0, of - (total - marked))
    logs = [_log_choose(marked, k) + _log_choose(total - marked, of - k) for k in range(least, hits + 1)]
    return min(1.0, sum(math.exp(value - _log_choose(total, of)) for value in logs))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's corrected p-values, in the given order."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        corrected[index] = min(1.0, largest)
    return corrected


def binomial_two_sided(successes: int, trials: int) -> float:
    """Return the exact two-sided p of this number of successes if each has probability one half."""
    far = max(successes, trials - successes)
    fair = math.lgamma(trials + 1) - trials * math.log(2)
    tail = sum(math.exp(fair - math.lgamma(k + 1) - math.lgamma(trials - k + 1)) for k in range(far, trials + 1))
    return min(1.0, 2 * tail)
