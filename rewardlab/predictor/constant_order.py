"""A constant order of the restorers, which ignores the images: a baseline that predictors should beat."""

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

Names = NDArray[np.str_]
Bools = NDArray[np.bool_]


def margins(
    first: Names,
    second: Names,
    first_wins: Bools,
    test_first: Names,
    test_second: Names,
    *,
    ties_by_name: bool = False,
) -> NDArray[np.float64]:
    """Count wins in N training pairs of restorers, and return the margins (M,) of the test pairs.

    A margin is the first restorer's share of wins minus one half. It is 0 if the two were never compared or won
    equally often; with ties_by_name, the first in the alphabet is preferred then.
    """
    names, numbers = np.unique(np.concatenate([first, second, test_first, test_second]), return_inverse=True)
    train, test = numbers[: 2 * len(first)].reshape(2, -1), numbers[2 * len(first) :].reshape(2, -1)
    wins = np.zeros((len(names), len(names)))
    np.add.at(wins, tuple(np.where(first_wins, train, train[::-1])), 1)
    lead, comparisons = (wins - wins.T)[tuple(test)], (wins + wins.T)[tuple(test)]
    if ties_by_name:
        lead = np.where(lead == 0, np.sign(test[1] - test[0]), lead)
    return lead / np.maximum(comparisons, 1) / 2


def cross_validated_accuracy(
    first: Names, second: Names, first_wins: Bools, faces: NDArray[np.int64], *, folds: int = 5
) -> float:
    """Measure how often the order learned from the other folds is right, in [0, 1]. No face is in two folds.

    first, second: sources (N,); first_wins, faces: (N,). Raises `ValueError` for fewer faces than folds.
    """
    correct = np.zeros(len(faces), bool)
    for train, test in GroupKFold(n_splits=folds).split(faces, groups=faces):
        found = margins(first[train], second[train], first_wins[train], first[test], second[test], ties_by_name=True)
        correct[test] = (found > 0) == first_wins[test]
    return float(correct.mean())
