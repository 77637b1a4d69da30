"""A constant order of the restorers, which looks at no image: what any predictor must beat."""

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

Names = NDArray[np.str_]
Bools = NDArray[np.bool_]


def margins(
    first: Names,
    second: Names,
    first_wins: Bools,
    asked_first: Names,
    asked_second: Names,
    *,
    ties_by_name: bool = False,
) -> NDArray[np.float64]:
    """Learn from pairs of restorers (N,) who wins, and return the margins (M,) of the pairs that are asked.

    A margin is the share of wins of the first minus one half. It is 0 for two that never met or won as often as each
    other; ties_by_name: there the first in the alphabet is preferred.
    """
    names, numbers = np.unique(np.concatenate([first, second, asked_first, asked_second]), return_inverse=True)
    learned, asked = numbers[: 2 * len(first)].reshape(2, -1), numbers[2 * len(first) :].reshape(2, -1)
    wins = np.zeros((len(names), len(names)))
    np.add.at(wins, tuple(np.where(first_wins, learned, learned[::-1])), 1)
    lead, games = (wins - wins.T)[tuple(asked)], (wins + wins.T)[tuple(asked)]
    if ties_by_name:
        lead = np.where(lead == 0, np.sign(asked[1] - asked[0]), lead)
    return lead / np.maximum(games, 1) / 2


def cross_validated_accuracy(
    first: Names, second: Names, first_wins: Bools, faces: NDArray[np.int64], *, folds: int = 5
) -> float:
    """Measure how often the order that the other folds give is right. No face is in two folds."""
    correct = np.zeros(len(faces), bool)
    for train, test in GroupKFold(n_splits=folds).split(faces, groups=faces):
        found = margins(first[train], second[train], first_wins[train], first[test], second[test], ties_by_name=True)
        correct[test] = (found > 0) == first_wins[test]
    return float(correct.mean())
