"""Frechet distance between two sets of images (Heusel et al. 2017), on selectable features.

Importing this module does not load torch; `open_features` does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rewardlab.metrics.registry import PYIQA_LICENCE, MetricUnavailable, Needs, remedy

if TYPE_CHECKING:
    from torch import Tensor

    Extract = Callable[[Tensor], Tensor]
else:
    Extract = Callable

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Features(Needs):
    name: str
    title: str
    note: str  # what its distances may be compared with
    builder: str  # function(device) -> Extract, in feature_networks
    width: int  # D


FEATURES = {
    features.name: features
    for features in (
        Features(
            "inception", "FID (Inception)",
            "Comparable with published FID if the reference images and their number are the same.",
            "build_inception", 2048,
            assets=("fid-inception",), requirement="pyiqa", modules=("pyiqa", "requests"), licence=PYIQA_LICENCE,
        ),
        Features(
            "efficientnet-lite0", "FID (EfficientNet-Lite0 features)",
            "Not comparable with published FID: another network's features (ImageNet). Compare only with itself.",
            "build_efficientnet", 1280,
            assets=("efficientnet-lite0",),
        ),
    )
}  # fmt: skip


def availability(name: str) -> str | None:
    """Return None if the features can be computed here, else what to install or which file to put where.

    Raises `ValueError` for an unknown name.
    """
    features = _known(name)
    return remedy(features.title, features)


def open_features(name: str, device: str = "cpu") -> Extract:
    """Return the function from float32 (B, 3, H, W) in [0, 1] to features, float32 (B, D) on the CPU.

    D is 2048 for `inception` and 1280 for `efficientnet-lite0`.

    Raises `ValueError` for an unknown name or a weights file of another layout, and `MetricUnavailable` with the
    remedy. The function raises `ValueError` for images of another shape or range.
    """
    features = _known(name)
    if missing := availability(name):
        raise MetricUnavailable(missing)
    build: Callable[[str], Extract] = getattr(import_module("rewardlab.metrics.feature_networks"), features.builder)
    return build(device)


def frechet_distance(first: Array, second: Array) -> float:
    """Return |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two sets of features (N, D) and (M, D), >= 0.

    C1 = A'A and C2 = B'B with A, B the centred features over the root of N - 1. The trace of the root is the sum of
    the singular values of A B', so that no D x D root is needed, and having fewer images than features is not a
    special case. The distance is biased upwards for few images (the literature uses thousands): compare only
    distances over the same number of images.

    Raises `ValueError` for different D, fewer than two images, or values that are not finite.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"two sets of features (N, D) with the same D are needed, not {first.shape} and {second.shape}"
        )
    if min(len(first), len(second)) < 2:
        raise ValueError(f"a covariance needs at least two images, not {min(len(first), len(second))}")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise ValueError("the features have values that are not finite")
    a, b = covariance_factor(first), covariance_factor(second)
    shift = first.mean(axis=0) - second.mean(axis=0)
    root = np.linalg.norm(a @ b.T, "nuc")
    return max(0.0, float(shift @ shift + (a**2).sum() + (b**2).sum() - 2 * root))


def covariance_factor(features: Array) -> Array:
    """Return R (at most D rows) such that R'R is the unbiased covariance of (N, D)."""
    centred = (features - features.mean(axis=0)) / np.sqrt(len(features) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r")) if len(centred) > centred.shape[1] else centred


def _known(name: str) -> Features:
    if name not in FEATURES:
        raise ValueError(f"unknown features {name!r}: use one of {', '.join(FEATURES)}")
    return FEATURES[name]
