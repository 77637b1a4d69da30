"""Resampling shared by restorers, and a baseline that only resamples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from refl.restorers.spec import RestorerSpec, Subject

TORCH_VERSION = torch.__version__.split("+")[0]  # equal for CPU and GPU builds


def check_images(images: Tensor) -> None:
    """Raise ValueError unless `images` is float32 (B, 3, S, S) in [0, 1]."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"restorers take RGB images of shape (B, 3, S, S), not {tuple(images.shape)}")
    if images.dtype != torch.float32:
        raise ValueError(f"restorers take float32 images, not {images.dtype}")
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"restorers take images in [0, 1], not [{low:.3g}, {high:.3g}]")


def resize(images: Tensor, side: int) -> Tensor:
    """Resize (B, 3, S, S) in [0, 1] to (B, 3, side, side) with an antialiased bicubic filter.

    Clamps to [0, 1], as the filter overshoots.
    """
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, (side, side), mode="bicubic", antialias=True).clamp(0, 1)


def downscale(images: Tensor, factor: int) -> Tensor:
    """Downscale (B, 3, S, S) to (B, 3, N, N) with N = S / factor, rounded up.

    If the factor does not divide S, the images are first padded at the right and at the bottom, by repeating the edge.
    The restorer's output then has N * factor pixels: crop it to S.
    """
    side = images.shape[-1]
    if missing := -side % factor:
        images = F.pad(images, (0, missing, 0, missing), mode="replicate")
    return resize(images, (side + missing) // factor)


def crop(images: Tensor, side: int) -> Tensor:
    """Remove the padding of `downscale`: (B, 3, N, N) -> (B, 3, side, side)."""
    return images[..., :side, :side]


@dataclass(frozen=True)
class LanczosRestorer:
    """The classical baseline: Lanczos upscaling in place of a network.

    The low-quality image is first downscaled by the scale with antialiasing, so the baseline gets the same input as
    the x4 networks. Runs on the CPU.
    """

    spec: RestorerSpec

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def provenance(self) -> dict[str, Any]:
        return self.spec.provenance(
            architecture="Lanczos-3",
            version=f"torch {TORCH_VERSION}",
            weights={"weights_file": None, "weights_sha256": None},
        )

    @torch.no_grad()
    def restore(self, lq: Tensor, subjects: Sequence[Subject] = ()) -> Tensor:
        check_images(lq)
        small = downscale(lq.cpu(), self.spec.scale)
        side = small.shape[-1] * self.spec.scale
        enlarged = F.interpolate(small, (side, side), mode="lanczos", antialias=True)
        return crop(enlarged, lq.shape[-1]).clamp(0, 1).to(lq.device)
