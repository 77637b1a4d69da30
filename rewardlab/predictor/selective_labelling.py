"""Selective labelling: which pairs a predictor may label within a given error, by a random held-out audit sample.

The sample is divided into nested levels, the most confident pairs first, each with the exact upper bound of its error
(Clopper-Pearson). The bounds hold simultaneously (Bonferroni), so that they may be used to choose a threshold. Pairs
of the sample must be independent: one per person.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

LEVELS = 10


@dataclass(frozen=True)
class Level:
    """The pairs of the sample with |p - 1/2| of at least `least_margin`."""

    coverage: float  # share of the sample
    least_margin: float
    pairs: int
    errors: int
    bound: float  # upper bound of the error of all such pairs, simultaneous over the levels

    @property
    def error(self) -> float:
        return self.errors / self.pairs


def levels(p_first: NDArray[np.floating], first_wins: NDArray[np.bool_], *, confidence: float = 0.95) -> list[Level]:
    """Return up to `LEVELS` different levels, from the most confident tenth to all; none for an empty sample.

    p_first (N,): the predictor's probabilities for the sample; first_wins (N,): people's labels. A p of exactly one
    half counts as an error.
    """
    margin = np.abs(p_first - 0.5)
    wrong = (margin == 0) | ((p_first > 0.5) != first_wins)
    order = np.argsort(-margin, kind="stable")
    places = [math.ceil(number * len(order) / LEVELS) - 1 for number in range(1, LEVELS + 1)] if len(order) else []
    found: list[Level] = []
    for threshold in dict.fromkeys(margin[order[places]].tolist()):
        confident = margin >= threshold
        pairs, errors = int(confident.sum()), int(wrong[confident].sum())
        bound = upper_bound(errors, pairs, risk=(1 - confidence) / LEVELS)
        found.append(Level(pairs / len(order), threshold, pairs, errors, bound))
    return found


def upper_bound(errors: int, pairs: int, *, risk: float) -> float:
    """Return the one-sided Clopper-Pearson upper bound of an error rate, exceeded with probability `risk` at most."""
    return 1.0 if errors == pairs else float(beta.ppf(1 - risk, errors + 1, pairs - errors))


def chosen(found: list[Level], max_error: float) -> Level | None:
    """Return the level of largest coverage with a bound of at most `max_error`; None if no pair may be labelled."""
    return max((level for level in found if level.bound <= max_error), key=lambda level: level.coverage, default=None)


def least_pairs(max_error: float, confidence: float = 0.95) -> int:
    """Return how many audited pairs, all correct, the most confident level needs at least."""
    return math.ceil(math.log((1 - confidence) / LEVELS) / math.log(1 - max_error))
