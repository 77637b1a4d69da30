"""The annotation predictor of Sec. 3.1 and App. A.1: an SVM on the metrics of both images of a pair.

A pair's feature vector is the metrics of its first image followed by those of its second (12 numbers for the
paper's six metrics). The SVM is trained on every pair in both orders, with all pairs of a face in one fold, and its
margin is made antisymmetric, so that p(first beats second) = 1 - p(second beats first) exactly.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import linear_kernel, rbf_kernel
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_predict
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from rewardlab.bootstrap import Interval, bootstrap_interval
from rewardlab.files import sha256, write_atomic

Array = NDArray[np.floating]
Parameters = dict[str, str | float | int]

PREDICT_CHUNK = 4096  # rows whose kernel with all support vectors is in memory at the same time


class TooFewLabels(ValueError):
    """Too few judged pairs or faces for cross-validation."""


@dataclass(frozen=True)
class PredictorConfig:
    """App. A.1 names the kernels, C, gamma and degree but no values; the grids are ours."""

    folds: int = 5  # App. A.1
    kernels: tuple[str, ...] = ("linear", "rbf", "poly")  # App. A.1
    c: tuple[float, ...] = (0.1, 1.0, 10.0)
    gamma: tuple[float, ...] = (0.01, 0.03, 0.1)  # about 1/12, the reciprocal of the number of features
    degree: tuple[int, ...] = (2, 3)
    minimum_labels: int = 12
    bootstrap_samples: int = 2000
    seed: int = 0

    def grid(self) -> list[dict[str, list[Any]]]:
        by_kernel: dict[str, dict[str, list[Any]]] = {
            "linear": {"svc__C": list(self.c)},
            "rbf": {"svc__C": list(self.c), "svc__gamma": list(self.gamma)},
            "poly": {
                "svc__C": list(self.c),
                "svc__gamma": list(self.gamma),
                "svc__degree": list(self.degree),
            },
        }
        return [{"svc__kernel": [kernel], **by_kernel[kernel]} for kernel in self.kernels]


@dataclass(frozen=True)
class Predictor:
    """A fitted SVM with its calibration. `slope` converts the margin to log-odds; 0 means no skill."""

    pipeline: Pipeline
    features: tuple[str, ...]
    parameters: Parameters
    slope: float
    labels: int
    accuracy: float  # cross-validated, on pairs
    interval: Interval  # 95%, bootstrap over faces
    grid_searched: bool

    def probability_first(self, first: Array, second: Array) -> Array:
        """Return p(first beats second), (N,), for metric vectors (N, K) each, in the order of `features`."""
        probability: Array = 1 / (1 + np.exp(-self.slope * symmetric_margin(self.pipeline, first, second)))
        return probability


def fit(
    first: Array,
    second: Array,
    first_wins: NDArray[np.bool_],
    faces: NDArray[np.int64],
    *,
    features: tuple[str, ...],
    config: PredictorConfig | None = None,
    parameters: Parameters | None = None,
) -> Predictor:
    """Fit on N judged pairs: metrics (N, K) of each image, whether the first won (N,), and faces (N,).

    Without `parameters` the whole grid is searched for the best mean accuracy over folds; otherwise only these
    parameters are refitted and cross-validated. Raises `TooFewLabels`.
    """
    config = config or PredictorConfig()
    require_enough(faces, config)
    x, y, groups = both_orders(first, second, first_wins, faces)
    pipeline = Pipeline([("scale", StandardScaler()), ("svc", SVC(cache_size=500))])
    folds = GroupKFold(n_splits=config.folds)
    grid_searched = parameters is None
    if parameters is None:
        search = GridSearchCV(pipeline, config.grid(), cv=folds, scoring="accuracy", n_jobs=jobs(len(y)), refit=False)
        parameters = search.fit(x, y, groups=groups).best_params_
    pipeline.set_params(**parameters)
    margins = cross_val_predict(
        pipeline, x, y, groups=groups, cv=folds, method="decision_function", n_jobs=jobs(len(y))
    )
    margin = (margins[: len(faces)] - margins[len(faces) :]) / 2
    correct = (margin > 0) == first_wins
    return Predictor(
        pipeline=pipeline.fit(x, y),
        features=features,
        parameters=parameters,
        slope=_calibrate(margin, first_wins),
        labels=len(faces),
        accuracy=float(correct.mean()),
        interval=bootstrap_interval(correct, faces, samples=config.bootstrap_samples, seed=config.seed),
        grid_searched=grid_searched,
    )


def require_enough(faces: NDArray[np.int64], config: PredictorConfig) -> None:
    """Raise `TooFewLabels` unless there are enough labels and faces for the folds. faces: (N,)."""
    if len(faces) < config.minimum_labels or len(np.unique(faces)) < config.folds:
        raise TooFewLabels(
            f"Judged pairs: {len(faces)}, of faces: {len(np.unique(faces))}. The predictor needs at least "
            f"{config.minimum_labels} pairs of {config.folds} faces. Judge more pairs."
        )


def both_orders(
    first: Array, second: Array, first_wins: NDArray[np.bool_], faces: NDArray[np.int64]
) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs followed by the swapped pairs: features (2N, 2K), first wins as 0 or 1 (2N,), faces (2N,)."""
    x = np.concatenate([np.hstack([first, second]), np.hstack([second, first])])
    y = np.concatenate([first_wins, ~first_wins]).astype(int)
    return x, y, np.concatenate([faces, faces])


def antisymmetric(p_first: Array) -> Array:
    """Convert probabilities of N pairs followed by the swapped pairs, (2N,), to p(first beats second), (N,)."""
    forward, backward = np.split(p_first, 2)
    return (1 + forward - backward) / 2


def jobs(rows: int) -> int:
    """Return the number of processes: one for small fits, since processes take seconds to start."""
    return (os.cpu_count() or 1) if rows > 2000 else 1


def symmetric_margin(pipeline: Pipeline, first: Array, second: Array) -> Array:
    """Return half the difference of the SVM's margins for the two orders, (N,); swapping the images flips the sign."""
    forward = decision_function(pipeline, np.hstack([first, second]))
    backward = decision_function(pipeline, np.hstack([second, first]))
    return (forward - backward) / 2


def decision_function(pipeline: Pipeline, x: Array) -> Array:
    """Compute `pipeline.decision_function` by matrix products in float32, many times faster than libsvm.

    x (N, 2K) -> (N,); equal within 1e-3 of the margin's scale.
    """
    if len(x) == 0:
        return np.empty(0)
    svc: SVC = pipeline.named_steps["svc"]
    scaled = pipeline.named_steps["scale"].transform(x).astype(np.float32)
    support = svc.support_vectors_.astype(np.float32)
    weights = svc.dual_coef_[0].astype(np.float32)
    gamma = np.float32(svc._gamma)

    def kernel(rows: Array) -> Array:
        if svc.kernel == "linear":
            linear: Array = linear_kernel(rows, support)
            return linear
        if svc.kernel == "rbf":
            radial: Array = rbf_kernel(rows, support, gamma=gamma)
            return radial
        base = gamma * linear_kernel(rows, support) + np.float32(svc.coef0)
        power: Array = math.prod([base] * svc.degree)  # NumPy's float power is twenty times slower
        return power

    chunks = [kernel(scaled[start : start + PREDICT_CHUNK]) @ weights for start in range(0, len(x), PREDICT_CHUNK)]
    margin: Array = np.concatenate(chunks).astype(float) + svc.intercept_[0]
    return margin


def _calibrate(margin: Array, first_wins: NDArray[np.bool_]) -> float:
    """Fit a sigmoid to out-of-fold margins, without intercept, so that the two orders remain complements."""
    x = np.concatenate([margin, -margin])[:, None]
    y = np.concatenate([first_wins, ~first_wins])
    slope = LogisticRegression(fit_intercept=False).fit(x, y).coef_[0, 0]
    return max(0.0, float(slope))


def save(predictor: Predictor, path: Path) -> str:
    """Write atomically, and return the file's sha256."""
    data = dumps(predictor)
    write_atomic(path, data)
    return sha256(data)


def dumps(predictor: Predictor) -> bytes:
    """Return the predictor in the format of skops."""
    data: bytes = skops.io.dumps(
        {
            "pipeline": predictor.pipeline,
            "features": list(predictor.features),
            "parameters": predictor.parameters,
            "slope": predictor.slope,
            "labels": predictor.labels,
            "accuracy": predictor.accuracy,
            "interval": list(predictor.interval),
            "grid_searched": predictor.grid_searched,
        }
    )
    return data


def load(path: Path) -> Predictor:
    """Load a saved predictor."""
    return loads(path.read_bytes())


def loads(data: bytes) -> Predictor:
    """Read the result of `dumps`. skops rejects types other than those of scikit-learn and numpy."""
    stored = skops.io.loads(data, trusted=[])
    return Predictor(**{**stored, "features": tuple(stored["features"]), "interval": tuple(stored["interval"])})
