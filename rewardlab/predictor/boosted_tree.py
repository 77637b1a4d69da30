"""A gradient-boosted tree on the same metrics, an alternative to the SVM that Table 9 does not include."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold, cross_val_predict

from rewardlab.bootstrap import Interval, bootstrap_interval
from rewardlab.predictor.svm import Array, PredictorConfig, antisymmetric, both_orders, require_enough


@dataclass(frozen=True)
class Tree:
    """A fitted boosted tree whose output is made antisymmetric, as the SVM's."""

    model: HistGradientBoostingClassifier
    labels: int
    accuracy: float  # cross-validated over faces, on pairs
    interval: Interval  # 95%, bootstrap over faces

    def probability_first(self, first: Array, second: Array) -> Array:
        """Return p(first beats second) for metric vectors (N, K) each; 1 - p for the swapped pair. (N,)"""
        if len(first) == 0:
            return np.empty(0)
        forward, backward = np.hstack([first, second]), np.hstack([second, first])
        return antisymmetric(self.model.predict_proba(np.concatenate([forward, backward]))[:, 1])


def build(seed: int) -> HistGradientBoostingClassifier:
    """Build a classifier of few, small trees, since there are only hundreds of labels.

    Early stopping is off: it would hold out single rows and so leave a pair's other order in the training set.
    """
    return HistGradientBoostingClassifier(
        max_iter=100, learning_rate=0.05, max_depth=3, min_samples_leaf=10, early_stopping=False, random_state=seed
    )


def fit_tree(
    first: Array, second: Array, first_wins: NDArray[np.bool_], faces: NDArray[np.int64], *, seed: int
) -> Tree:
    """Fit on N judged pairs: metrics (N, K) of each image, whether the first won (N,), and faces (N,).

    Raises `TooFewLabels`.
    """
    config = PredictorConfig(seed=seed)
    require_enough(faces, config)
    x, y, groups = both_orders(first, second, first_wins, faces)
    held_out = cross_val_predict(
        build(seed), x, y, groups=groups, cv=GroupKFold(n_splits=config.folds), method="predict_proba"
    )
    correct = (antisymmetric(held_out[:, 1]) > 0.5) == first_wins
    return Tree(
        model=build(seed).fit(x, y),
        labels=len(faces),
        accuracy=float(correct.mean()),
        interval=bootstrap_interval(correct, faces, samples=config.bootstrap_samples, seed=seed),
    )
