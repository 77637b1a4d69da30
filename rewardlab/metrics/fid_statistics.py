"""Mean and covariance of a set's features, against which the field computes FID: FFHQ's file, or one made here.

Read are .npz with `mu` and `sigma` (pytorch-fid's layout; ours also states the features and the number of images) and
.pth with `mean` and `cov` (BasicSR's layout, as `inception_FFHQ_512.pth`).
"""

import io
import pickle
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardlab.errors import ModelError
from rewardlab.files import write_atomic
from rewardlab.metrics.fid import Array, covariance_factor

SYMMETRY = 1e-6  # relative to the largest entry


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean (D,), and a factor L (D, R) of the covariance L L'. features, images: "" and 0 if the file does not say."""

    mean: Array
    factor: Array
    features: str = ""
    images: int = 0

    @classmethod
    def of_covariance(cls, mean: Array, covariance: Array, features: str = "", images: int = 0) -> "FeatureStatistics":
        values, vectors = np.linalg.eigh(covariance)
        return cls(mean, vectors * np.sqrt(values.clip(min=0)), features, images)


class Gatherer:
    """Mean and covariance of features that arrive in parts, without keeping them."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Array = np.zeros(0)
        self.scatter: Array = np.zeros((0, 0))

    def add(self, features: Array) -> None:
        """Add (N, D) features."""
        features = np.asarray(features, np.float64)
        if not self.count:
            self.mean, self.scatter = np.zeros(features.shape[1]), np.zeros((features.shape[1],) * 2)
        number, mean = len(features), features.mean(axis=0)
        centred, shift, total = features - mean, mean - self.mean, self.count + number
        self.scatter += centred.T @ centred + np.outer(shift, shift) * (self.count * number / total)
        self.mean += shift * (number / total)
        self.count = total

    def covariance(self) -> Array:
        """Return the unbiased covariance. Raises `ValueError` for fewer than two images."""
        if self.count < 2:
            raise ValueError(f"A covariance needs at least two images, not {self.count}.")
        return self.scatter / (self.count - 1)


def gather(parts: Iterable[Array]) -> Gatherer:
    found = Gatherer()
    for part in parts:
        found.add(part)
    return found


def write(path: Path, gathered: Gatherer, features: str) -> None:
    """Write an .npz in pytorch-fid's layout, atomically."""
    data = io.BytesIO()
    np.savez(data, mu=gathered.mean, sigma=gathered.covariance(), features=features, images=gathered.count)
    write_atomic(path, data.getvalue())


def read(path: Path) -> FeatureStatistics:
    """Read a file of statistics. Raises `ModelError`, naming the file, for another content."""
    try:
        mean, covariance, features, images = _read_npz(path) if path.suffix == ".npz" else _read_torch(path)
    except FileNotFoundError as error:
        raise ModelError(f"The file of statistics {path} does not exist.") from error
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile, pickle.UnpicklingError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"{path} has no statistics for FID: .npz with mu and sigma, or .pth with mean and cov, is read ({reason}). "
            "Make one with manage.py fid_stats."
        ) from error
    mean, covariance = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
    if mean.ndim != 1 or covariance.shape != (len(mean),) * 2:
        raise ModelError(
            f"{path} has a mean {mean.shape} and a covariance {covariance.shape} that do not fit together."
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise ModelError(f"{path} has values that are not finite. Use another file.")
    if np.abs(covariance - covariance.T).max() > SYMMETRY * np.abs(covariance).max():
        raise ModelError(f"{path} has a covariance that is not symmetric, so it is damaged. Use another file.")
    return FeatureStatistics.of_covariance(mean, covariance, features, images)


def distance(features: Array, statistics: FeatureStatistics) -> float:
    """Return the Frechet distance of features (N, D) from statistics, as `fid.frechet_distance` from a second set."""
    features = np.asarray(features, np.float64)
    if features.shape[1] != len(statistics.mean):
        raise ValueError(f"features of {features.shape[1]} values and statistics of {len(statistics.mean)} do not fit")
    own = covariance_factor(features)
    shift = features.mean(axis=0) - statistics.mean
    root = np.linalg.norm(own @ statistics.factor, "nuc")
    return max(0.0, float(shift @ shift + (own**2).sum() + (statistics.factor**2).sum() - 2 * root))


def _read_npz(path: Path) -> tuple[Array, Array, str, int]:
    with np.load(path, allow_pickle=False) as file:
        features = str(file["features"]) if "features" in file else ""
        return file["mu"], file["sigma"], features, int(file["images"]) if "images" in file else 0


def _read_torch(path: Path) -> tuple[Array, Array, str, int]:
    """Read BasicSR's file: numpy arrays in a checkpoint. Nothing else in it is accepted, so no code is executed."""
    import torch

    reconstruct = np._core.multiarray._reconstruct  # type: ignore[attr-defined]  # private: only pickles name it
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    allowed: list[Any] = [
        np.ndarray, np.dtype, type(np.dtype(np.float64)), type(np.dtype(np.float32)),
        *((function, f"{module}.{function.__name__}") for function in (reconstruct, scalar)
          for module in ("numpy.core.multiarray", "numpy._core.multiarray")),
    ]  # fmt: skip
    with torch.serialization.safe_globals(allowed):
        stored = torch.load(path, map_location="cpu", weights_only=True)
    return np.asarray(stored["mean"]), np.asarray(stored["cov"]), "", 0
