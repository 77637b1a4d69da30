"""Learning curve: accuracy of the predictors against the number of human labels."""

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
    """Held-out accuracy after training on a share of the labels, with its 95% interval over faces, if it has one.

    labels: mean over folds; correct (N,): for every pair.
    """

    method: str
    share: float
    labels: int
    accuracy: float
    low: float | None
    high: float | None
    correct: Bools


@dataclass(frozen=True)
class Doubling:
    """Gain of the last doubling of the labels: accuracy with all minus accuracy with half, on the same pairs."""

    method: str
    gain: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class JudgedPairs:
    """N decided pairs: metrics (N, K) and sources (N,) of each image, whether the first won (N,), faces (N,)."""

    first: Array
    second: Array
    first_sources: NDArray[np.str_]
    second_sources: NDArray[np.str_]
    first_wins: Bools
    faces: NDArray[np.int64]

    def part(self, rows: NDArray[np.int64]) -> "JudgedPairs":
        return JudgedPairs(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


Margins = Callable[[JudgedPairs, JudgedPairs], Array]  # training and test pairs -> margins of the test pairs


def shares(points: int) -> list[float]:
    """Return shares of the labels: log-spaced up to one half, then all, so that the last step is a doubling."""
    down = np.geomspace(0.5, SMALLEST_SHARE, max(points, 2) - 1).tolist()
    return [*(round(share, 4) for share in reversed(down)), 1.0]


def measure(pairs: JudgedPairs, *, parameters: Parameters, points: int = 6, seed: int = 0) -> Iterator[Point]:
    """Measure each method at each share of the labels, cross-validated with five folds by face.

    Each fold trains on the labels of a random part of the faces in the other four. Shares whose training labels
    have a single class are left out. Raises `TooFewLabels`.
    """
    config = PredictorConfig(seed=seed)
    require_enough(pairs.faces, config)
    folds = list(GroupKFold(n_splits=config.folds).split(pairs.faces, groups=pairs.faces))
    for share in shares(points):
        parts = [_share_of_faces(pairs.faces, train, share, seed) for train, _ in folds]
        if any(len(set(pairs.first_wins[rows].tolist())) < 2 for rows in parts):
            continue
        for method, margins in _methods(parameters, seed).items():
            correct = np.zeros(len(pairs.faces), bool)
            for rows, (_, test) in zip(parts, folds, strict=True):
                correct[test] = (margins(pairs.part(rows), pairs.part(test)) > 0) == pairs.first_wins[test]
            low, high = bootstrap_interval(correct, pairs.faces, samples=2000, seed=seed)
            labels = round(np.mean([len(rows) for rows in parts]))
            yield Point(method, share, labels, float(correct.mean()), low, high, correct)


def _share_of_faces(faces: NDArray[np.int64], train: NDArray[np.int64], share: float, seed: int) -> NDArray[np.int64]:
    """Return the training rows of this share of their faces, the first in a random order that the seed fixes."""
    known = np.unique(faces[train])
    order = np.random.default_rng(seed).permutation(np.unique(faces))
    ranked = order[np.isin(order, known)]
    kept = ranked[: max(1, round(share * len(ranked)))]
    return train[np.isin(faces[train], kept)]


def _methods(parameters: Parameters, seed: int) -> dict[str, Margins]:
    return {
        "svm": lambda train, test: _svm(parameters, train, test),
        "mlp3": lambda train, test: _classifier(build_mlp(3, seed), train, test),
        "mlp4": lambda train, test: _classifier(build_mlp(4, seed), train, test),
        "tree": lambda train, test: _classifier(boosted_tree.build(seed), train, test),
        "constant-order": _constant_order,
    }


def _svm(parameters: Parameters, train: JudgedPairs, test: JudgedPairs) -> Array:
    pipeline = Pipeline([("scale", StandardScaler()), ("svc", SVC(cache_size=500))]).set_params(**parameters)
    return symmetric_margin(pipeline.fit(*_rows(train)), test.first, test.second)


def _classifier(model: ClassifierMixin, train: JudgedPairs, test: JudgedPairs) -> Array:
    both = np.concatenate([np.hstack([test.first, test.second]), np.hstack([test.second, test.first])])
    return antisymmetric(model.fit(*_rows(train)).predict_proba(both)[:, 1]) - 0.5


def _rows(train: JudgedPairs) -> tuple[Array, NDArray[np.int64]]:
    x, y, _ = both_orders(train.first, train.second, train.first_wins, train.faces)
    return x, y


def _constant_order(train: JudgedPairs, test: JudgedPairs) -> Array:
    known = train.first_sources, train.second_sources, train.first_wins
    return constant_order.margins(*known, test.first_sources, test.second_sources, ties_by_name=True)


def last_doubling(points: Sequence[Point], faces: NDArray[np.int64]) -> list[Doubling]:
    """Return the gain of each method that was measured with half and with all labels. faces: (N,)."""
    at = {(point.method, point.share): point.correct.astype(np.float64) for point in points}
    gains = []
    for method in dict.fromkeys(point.method for point in points):
        if (method, 0.5) in at and (method, 1.0) in at:
            difference = at[method, 1.0] - at[method, 0.5]
            low, high = bootstrap_interval(difference, faces, samples=2000, seed=0)
            gains.append(Doubling(method, float(difference.mean()), low, high))
    return gains
