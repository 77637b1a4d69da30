"""The multilayer perceptrons that App. D.2 (Table 9) compares with the SVM of App. A.1."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from rewardlab.bootstrap import Interval, bootstrap_interval
from rewardlab.predictor.svm import Array, PredictorConfig, antisymmetric, both_orders, jobs, require_enough

HIDDEN = {3: (64, 64), 4: (64, 64, 64)}
ALPHA = 0.1


@dataclass(frozen=True)
class Mlp:
    """A fitted perceptron whose output is made antisymmetric, as the SVM's."""

    pipeline: Pipeline
    layers: int
    labels: int
    accuracy: float  # cross-validated over faces, on pairs: Table 9's prediction accuracy
    interval: Interval  # 95%, bootstrap over faces

    def probability_first(self, first: Array, second: Array) -> Array:
        """Return p(first beats second) for metric vectors (N, K) each; 1 - p for the swapped pair. (N,)"""
        if len(first) == 0:
            return np.empty(0)
        forward, backward = np.hstack([first, second]), np.hstack([second, first])
        return antisymmetric(self.pipeline.predict_proba(np.concatenate([forward, backward]))[:, 1])


def fit_mlp(
    first: Array,
    second: Array,
    first_wins: NDArray[np.bool_],
    faces: NDArray[np.int64],
    *,
    layers: Literal[3, 4],
    seed: int,
) -> Mlp:
    """Fit on N judged pairs: metrics (N, K) of each image, whether the first won (N,), and faces (N,).

    App. D.2 defines neither the layers nor the training. We count layers of weights: 3 means two hidden layers and the
    output, 4 means three hidden layers and the output, with 64 ReLU units each. Adam runs until the training loss
    converges; alpha (L2) is 0.1, not searched. Early stopping is off: scikit-learn would hold out single rows and so
    leave a pair's other order, and its face, in the training set. Raises `TooFewLabels`.
    """
    config = PredictorConfig(seed=seed)
    require_enough(faces, config)
    x, y, groups = both_orders(first, second, first_wins, faces)
    pipeline = build_mlp(layers, seed)
    held_out = cross_val_predict(
        pipeline,
        x,
        y,
        groups=groups,
        cv=GroupKFold(n_splits=config.folds),
        method="predict_proba",
        n_jobs=jobs(len(y)),
    )
    correct = (antisymmetric(held_out[:, 1]) > 0.5) == first_wins
    return Mlp(
        pipeline=pipeline.fit(x, y),
        layers=layers,
        labels=len(faces),
        accuracy=float(correct.mean()),
        interval=bootstrap_interval(correct, faces, samples=config.bootstrap_samples, seed=seed),
    )


def build_mlp(layers: Literal[3, 4], seed: int) -> Pipeline:
    network = MLPClassifier(HIDDEN[layers], alpha=ALPHA, max_iter=1000, early_stopping=False, random_state=seed)
    return Pipeline([("scale", StandardScaler()), ("mlp", network)])
