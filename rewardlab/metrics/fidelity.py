"""PSNR and SSIM on RGB images in [0, 1], without cropping.

The variants `corrected` first give each channel of the restoration the mean and the deviation that it has in the
photograph, as the option of that name in BasicSR's scripts: colour and contrast then do not count.
"""

import torch
from torch import Tensor

from rewardlab.metrics.registry import MAX_PSNR, FullReferenceMeasure

SSIM_WINDOW = 11
SSIM_SIGMA = 1.5
SSIM_C1 = 0.01**2  # (K1 L)^2 and (K2 L)^2 of the paper, for a range L of 1
SSIM_C2 = 0.03**2


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio in dB: two float (B, 3, H, W) in [0, 1] -> (B,).

    Capped at 100 dB, so that the value is finite for identical images.
    """
    error = (images.double() - reference.double()).square().mean(dim=(1, 2, 3))
    return -10 * torch.log10(error.clamp_min(10 ** (-MAX_PSNR / 10)))


def ssim(images: Tensor, reference: Tensor) -> Tensor:
    """Compute the structural similarity (Wang et al. 2004): two float (B, 3, H, W) in [0, 1] -> (B,).

    Gaussian window of 11 x 11 with sigma 1.5; mean over channels and over the pixels whose window is inside the
    image. Raises `ValueError` for images smaller than the window.
    """
    if min(images.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs at least {SSIM_WINDOW} x {SSIM_WINDOW} pixels")
    # In float32 the variances of flat areas suffer from cancellation: identical images would score .9998.
    x, y = images.double(), reference.double()
    if x.device.type != "cpu":
        return _similarity(x, y).mean(dim=(1, 2, 3))
    # On a CPU one channel at a time takes half the time: its maps stay in the cache.
    planes = [_similarity(one, other).mean() for one, other in zip(_planes(x), _planes(y), strict=True)]
    return torch.stack(planes).view(x.shape[:2]).mean(dim=1)


def _planes(maps: Tensor) -> tuple[Tensor, ...]:
    return maps.reshape(-1, 1, 1, *maps.shape[-2:]).unbind()


def _similarity(x: Tensor, y: Tensor) -> Tensor:
    """Return the similarity of all windows inside the image: double (B, C, H, W) -> (B, C, H - 10, W - 10)."""
    mean_x, mean_y = _windowed(x), _windowed(y)
    variances = _windowed(x * x) - mean_x**2 + _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    brightness = (2 * mean_x * mean_y + SSIM_C1) / (mean_x**2 + mean_y**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variances + SSIM_C2)
    return brightness * structure


def _windowed(maps: Tensor) -> Tensor:
    """Return the Gaussian means of all windows inside the image: (B, C, H, W) -> (B, C, H - 10, W - 10)."""
    distance = torch.arange(SSIM_WINDOW, dtype=maps.dtype) - SSIM_WINDOW // 2
    weights = torch.exp(-(distance**2) / (2 * SSIM_SIGMA**2))
    weights /= weights.sum()
    for axis in (-2, -1):
        length = maps.shape[axis] - SSIM_WINDOW + 1
        # torch's float64 convolution is far slower than this sum on a CPU.
        total = torch.zeros_like(maps.narrow(axis, 0, length))
        for offset, weight in enumerate(weights.tolist()):
            total.add_(maps.narrow(axis, offset, length), alpha=weight)
        maps = total
    return maps


def corrected(images: Tensor, reference: Tensor) -> Tensor:
    """Give each channel of each image the mean and deviation of the reference's; flat channels get the mean only."""
    mean, wanted_mean = images.mean(dim=(2, 3), keepdim=True), reference.mean(dim=(2, 3), keepdim=True)
    deviation, wanted = (each.std(dim=(2, 3), correction=0, keepdim=True) for each in (images, reference))
    return (images - mean) * torch.where(deviation > 0, wanted / deviation, 1.0) + wanted_mean


def build_psnr_corrected(device: str) -> FullReferenceMeasure:
    return lambda images, reference: psnr(corrected(images, reference), reference)


def build_ssim_corrected(device: str) -> FullReferenceMeasure:
    return lambda images, reference: ssim(corrected(images, reference), reference)


def build_psnr(device: str) -> FullReferenceMeasure:
    return psnr


def build_ssim(device: str) -> FullReferenceMeasure:
    return ssim
