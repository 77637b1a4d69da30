"""NIQE (Mittal, Soundararajan and Bovik, IEEE SPL 2013): distance of an image's statistics from photographs'.

Blocks of 96 x 96 pixels at two scales give 36 features each. Their mean and covariance are compared with those of the
pristine model. The estimate is coarse for few blocks: 256 x 256 pixels have four, 512 x 512 twenty-five.

This is the convention of the original MATLAB code and of BasicSR: Y of YCbCr, in [16, 235]. pyiqa takes Y of YIQ, in
[0, 255], and keeps rounding errors in flat areas: see `pyiqa_networks.build_niqe`.
"""

import functools
import zipfile
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from scipy.special import gamma
from torch import Tensor

from rewardlab import assets
from rewardlab.errors import ModelError
from rewardlab.metrics.registry import Measure, UndefinedMetric

Array = NDArray[np.float64]

BLOCK = 96
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))  # neighbours: horizontal, vertical, both diagonals
LUMA = np.array([65.481, 128.553, 24.966])  # ITU-R BT.601, [0, 1] -> [16, 235], as MATLAB's rgb2ycbcr
ROUNDING = 1e-6  # one grey level in one pixel of a window changes the value by 1e-4
SHAPES = np.arange(0.2, 10.001, 0.001)
MOMENT_RATIOS = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))


@dataclass(frozen=True)
class Pristine:
    """The multivariate Gaussian of undistorted photographs' features."""

    mean: Array  # (36,)
    covariance: Array  # (36, 36)
    window: Array  # (7,): the separable Gaussian of the local mean and deviation


@functools.cache
def load_pristine() -> Pristine:
    """Load the pristine model. Raises `MissingAsset`, or `ModelError` for a file without the three arrays."""
    path = assets.find("niqe-pristine")
    try:
        with np.load(path, allow_pickle=False) as file:
            mean, covariance = file["mu_pris_param"].reshape(36), file["cov_pris_param"].reshape(36, 36)
            pristine = Pristine(mean, covariance, file["gaussian_window"].sum(axis=0))
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ModelError(f"{path} does not contain NIQE's pristine model: {error}") from error
    if not all(np.isfinite(array).all() for array in (pristine.mean, pristine.covariance, pristine.window)):
        raise ModelError(f"{path} has values that are not finite. Use another file")
    return pristine


def build_niqe(device: str) -> Measure:
    pristine = load_pristine()

    def measure(images: Tensor, reference: Tensor | None = None) -> Tensor:
        pictures = images.detach().double().permute(0, 2, 3, 1).cpu().numpy()
        return torch.tensor([niqe(luma(picture), pristine) for picture in pictures])

    return measure


def luma(picture: Array) -> Array:
    """Convert float (H, W, 3) RGB in [0, 1] to Y of MATLAB's YCbCr, rounded as there: (H, W) in [16, 235]."""
    rounded: Array = np.round(picture @ LUMA + 16)
    return rounded


def niqe(image: Array, pristine: Pristine) -> float:
    """Compute NIQE of a float (H, W) luma in [0, 255]; lower is better. Incomplete blocks at the border are cropped.

    Blocks without contrast have no statistics and are left out. With a single block the image's covariance is unknown
    and set to zero, where the reference implementations return no value.

    Raises `UndefinedMetric` if there is no block, or none with contrast.
    """
    rows, columns = image.shape[0] // BLOCK, image.shape[1] // BLOCK
    if not rows or not columns:
        raise UndefinedMetric(
            f"NIQE needs at least {BLOCK} x {BLOCK} pixels; "
            f"this image has {image.shape[1]} x {image.shape[0]}. Use another metric at this size."
        )
    full = image[: rows * BLOCK, : columns * BLOCK]
    features = np.concatenate(
        [
            _features(_blocks(_normalised(full, pristine.window), BLOCK)),
            _features(_blocks(_normalised(_halved(full), pristine.window), BLOCK // 2)),
        ],
        axis=1,
    )
    complete = features[~np.isnan(features).any(axis=1)]
    if not len(complete):
        raise UndefinedMetric("NIQE is undefined: no block of the image has contrast")
    covariance = np.cov(complete, rowvar=False) if len(complete) > 1 else 0.0
    difference = pristine.mean - np.nanmean(features, axis=0)
    inverse = np.linalg.pinv((pristine.covariance + covariance) / 2)
    return float(np.sqrt(difference @ inverse @ difference))


def _normalised(image: Array, window: Array) -> Array:
    """Normalise each pixel by the mean and deviation of its neighbourhood (Eq. 1)."""
    mean = _blurred(image, window)
    deviation = np.sqrt(np.abs(_blurred(image**2, window) - mean**2))
    normalised = (image - mean) / (deviation + 1)
    # In flat areas the sign of rounding errors would change NIQE by up to .5: set them to zero.
    return np.where(np.abs(normalised) < ROUNDING, 0.0, normalised)


def _blurred(image: Array, window: Array) -> Array:
    blurred: Array = correlate1d(correlate1d(image, window, axis=0, mode="nearest"), window, axis=1, mode="nearest")
    return blurred


def _halved(image: Array) -> Array:
    """Halve as MATLAB's imresize(image, 0.5): cubic kernel stretched by two, mirrored borders; even sides only."""
    distance = np.abs(np.arange(8) - 3.5) / 2  # of the eight taps from the new pixel's centre
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    weights = np.where(distance <= 1, near, far) / 2
    for axis in (0, 1):
        padding = [(3, 3) if side == axis else (0, 0) for side in (0, 1)]
        taps = np.lib.stride_tricks.sliding_window_view(np.pad(image, padding, mode="symmetric"), 8, axis)
        image = (taps[::2] if axis == 0 else taps[:, ::2]) @ weights
    return image


def _blocks(image: Array, side: int) -> Array:
    """Split (H, W) into blocks: (number of blocks, side, side)."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    return image.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(-1, side, side)


def _features(blocks: Array) -> Array:
    """Fit generalised Gaussians to pixels and to products of neighbours: (n, side, side) -> (n, 18)."""
    shape, left, right = _fit_asymmetric_gaussian(blocks)
    features = [shape, (left + right) / 2]
    for shift in SHIFTS:
        shape, left, right = _fit_asymmetric_gaussian(blocks * np.roll(blocks, shift, axis=(1, 2)))
        features += [shape, (right - left) * gamma(2 / shape) / gamma(1 / shape), left, right]
    return np.stack(features, axis=1)


def _fit_asymmetric_gaussian(blocks: Array) -> tuple[Array, Array, Array]:
    """Return shape, left and right scale (Eq. 7) of each block by matching moments; NaN scales without contrast."""
    values = blocks.reshape(len(blocks), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.sqrt((np.minimum(values, 0) ** 2).sum(axis=1) / (values < 0).sum(axis=1))
        right = np.sqrt((np.maximum(values, 0) ** 2).sum(axis=1) / (values > 0).sum(axis=1))
        ratio = left / right
        moments = np.abs(values).mean(axis=1) ** 2 / (values**2).mean(axis=1)
        target = moments * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shape = SHAPES[np.argmin((MOMENT_RATIOS - target[:, None]) ** 2, axis=1)]
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return shape, left * scale, right * scale
