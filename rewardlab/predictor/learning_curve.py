"""Accuracy of the predictors against the number of human labels: when is it enough?"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from rewardlab.bootstrap import bootstrap_interval
from rewardlab.predictor import boosted_tree, constant_order
from rewardlab.predictor.mlp import build_mlp
from rewardlab.predictor.svm import (
    Array,
    Parameters,
    PredictorConfig,
    antisymmetric,
    both_orders,
    require_enough,
    symmetric_margin,
)

Bools = NDArray[np.bool_]

SMALLEST_SHARE = 1 / 16
TITLES = {
    "svm": "SVM",
    "mlp3": "MLP (3-layer)",
    "mlp4": "MLP (4-layer)",
    "tree": "gradient-boosted tree",
    "constant-order": "constant order of restorers",
}


@dataclass(frozen=True)
class Point:
    """Held-out accuracy after learning from a share of the labels, with its 95% interval over faces.

    labels: the mean over folds; correct: of every pair (N,).
    """

    method: str
    share: float
    labels: int
    accuracy: float
    low: float
    high: float
    correct: Bools


@dataclass(frozen=True)
class Doubling:
    """How much the last doubling of the labels gave: accuracy with all less accuracy with half, the same pairs."""

    method: str
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class JudgedPairs:
    """N judged pairs with a winner: metrics (N, K) and sources of each image (N,), who won (N,), faces (N,)."""

    first: Array
    second: Array
    first_sources: NDArray[np.str_]
    second_sources: NDArray[np.str_]
    first_wins: Bools
    faces: NDArray[np.int64]

    def part(self, rows: NDArray[np.int64]) -> "JudgedPairs":
        return JudgedPairs(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


Margins = Callable[[JudgedPairs, JudgedPairs], Array]  # of the second, after learning from the first


def shares(points: int) -> list[float]:
    """Of the labels: up to one half evenly on a logarithmic scale, then all, so that the last step is a doubling."""
    down = np.geomspace(0.5, SMALLEST_SHARE, max(points, 2) - 1).tolist()
    return [*(round(share, 4) for share in reversed(down)), 1.0]


def measure(pairs: JudgedPairs, *, parameters: Parameters, points: int = 6, seed: int = 0) -> Iterator[Point]:
    """Each method at each share of the labels.

    Five folds by face; in each, the labels of the first faces of the other four folds, in a random order. A share too
    small to learn from, with one class alone, is left out. Raises `TooFewLabels`.
    """
    config = PredictorConfig(seed=seed)
    require_enough(pairs.faces, config)
    folds = list(GroupKFold(n_splits=config.folds).split(pairs.faces, groups=pairs.faces))
    for share in shares(points):
        learned = [_of_first_faces(pairs.faces, train, share, seed) for train, _ in folds]
        if any(len(set(pairs.first_wins[rows].tolist())) < 2 for rows in learned):
            continue
        for method, margins in _methods(parameters, seed).items():
            correct = np.zeros(len(pairs.faces), bool)
            for rows, (_, test) in zip(learned, folds, strict=True):
                correct[test] = (margins(pairs.part(rows), pairs.part(test)) > 0) == pairs.first_wins[test]
            low, high = bootstrap_interval(correct, pairs.faces, samples=2000, seed=seed)
            labels = round(np.mean([len(rows) for rows in learned]))
            yield Point(method, share, labels, float(correct.mean()), low, high, correct)


def _of_first_faces(faces: NDArray[np.int64], train: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Rows of the first faces, in a random order that the seed fixes, that hold this share of the training rows."""
    known = np.unique(faces[train])
    order = np.random.default_rng(seed).permutation(np.unique(faces))
    ranked = order[np.isin(order, known)]
    kept = ranked[: max(1, round(share * len(ranked)))]
    return train[np.isin(faces[train], kept)]


def _methods(parameters: Parameters, seed: int) -> dict[str, Margins]:
    return {
        "svm": lambda learned, asked: _svm(parameters, learned, asked),
        "mlp3": lambda learned, asked: _classifier(build_mlp(3, seed), learned, asked),
        "mlp4": lambda learned, asked: _classifier(build_mlp(4, seed), learned, asked),
        "tree": lambda learned, asked: _classifier(boosted_tree.build(seed), learned, asked),
        "constant-order": _constant_order,
    }


def _svm(parameters: Parameters, learned: JudgedPairs, asked: JudgedPairs) -> Array:
    pipeline = Pipeline([("scale", StandardScaler()), ("svc", SVC(cache_size=500))]).set_params(**parameters)
    return symmetric_margin(pipeline.fit(*_rows(learned)), asked.first, asked.second)


def _classifier(model: ClassifierMixin, learned: JudgedPairs, asked: JudgedPairs) -> Array:
    both = np.concatenate([np.hstack([asked.first, asked.second]), np.hstack([asked.second, asked.first])])
    return antisymmetric(model.fit(*_rows(learned)).predict_proba(both)[:, 1]) - 0.5


def _rows(learned: JudgedPairs) -> tuple[Array, NDArray[np.int64]]:
    x, y, _ = both_orders(learned.first, learned.second, learned.first_wins, learned.faces)
    return x, y


def _constant_order(learned: JudgedPairs, asked: JudgedPairs) -> Array:
    known = learned.first_sources, learned.second_sources, learned.first_wins
    return constant_order.margins(*known, asked.first_sources, asked.second_sources, ties_by_name=True)


def last_doubling(points: Sequence[Point], faces: NDArray[np.int64]) -> list[Doubling]:
    """Of each method that was measured at one half and at all of the labels; faces (N,)."""
    at = {(point.method, point.share): point.correct.astype(np.float64) for point in points}
    gains = []
    for method in dict.fromkeys(point.method for point in points):
        if (method, 0.5) in at and (method, 1.0) in at:
            difference = at[method, 1.0] - at[method, 0.5]
            low, high = bootstrap_interval(difference, faces, samples=2000, seed=0)
            gains.append(Doubling(method, float(difference.mean()), low, high))
    return gains
