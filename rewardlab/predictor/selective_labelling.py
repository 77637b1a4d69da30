"""Labels within an error: where a predictor is sure enough, judged by a random audit sample that it never learned from.

Nested parts of the sample, the surest pairs first, each with the exact upper bound of its error (Clopper-Pearson). The
bounds hold all at once (Bonferroni), so a threshold may be chosen after looking at them. Pairs of the sample must be
independent: one a person.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

LEVELS = 10


@dataclass(frozen=True)
class Level:
    """A part of the sample: the pairs with |p - 1/2| of at least `least_margin`."""

    coverage: float  # share of the sample
    least_margin: float
    pairs: int
    errors: int
    bound: float  # of the error of all such pairs, with the confidence of all levels together

    @property
    def error(self) -> float:
        return self.errors / self.pairs


def levels(p_first: NDArray[np.floating], first_wins: NDArray[np.bool_], *, confidence: float = 0.95) -> list[Level]:
    """p_first, first_wins (N,): the predictor's answers to the sample, and people's. Up to `LEVELS` parts that differ,
    from the surest tenth to all; none for an empty sample. An undecided p of one half is an error.
    """
    margin = np.abs(p_first - 0.5)
    wrong = (margin == 0) | ((p_first > 0.5) != first_wins)
    order = np.argsort(-margin, kind="stable")
    places = [math.ceil(number * len(order) / LEVELS) - 1 for number in range(1, LEVELS + 1)] if len(order) else []
    found: list[Level] = []
    for threshold in dict.fromkeys(margin[order[places]].tolist()):
        sure = margin >= threshold
        pairs, errors = int(sure.sum()), int(wrong[sure].sum())
        bound = upper_bound(errors, pairs, risk=(1 - confidence) / LEVELS)
        found.append(Level(pairs / len(order), threshold, pairs, errors, bound))
    return found


def upper_bound(errors: int, pairs: int, *, risk: float) -> float:
    """Clopper-Pearson's one-sided upper bound of a share, which is exceeded with a probability of at most `risk`."""
    return 1.0 if errors == pairs else float(beta.ppf(1 - risk, errors + 1, pairs - errors))


def chosen(found: list[Level], max_error: float) -> Level | None:
    """The level that labels most among those whose bound is low enough; None: it must abstain from all."""
    return max((level for level in found if level.bound <= max_error), key=lambda level: level.coverage, default=None)


def least_pairs(max_error: float, confidence: float = 0.95) -> int:
    """How many pairs of the audit sample, all without an error, the surest level needs at least."""
    return math.ceil(math.log((1 - confidence) / LEVELS) / math.log(1 - max_error))
