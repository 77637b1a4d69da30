"""Resampling shared by restorers, and the baseline that only resamples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from refl.restorers.spec import RestorerSpec, Subject

TORCH_VERSION = torch.__version__.split("+")[0]  # the same version for CPU and GPU builds of torch


def check_images(images: Tensor) -> None:
    """Raise ValueError unless `images` is float32 (B, 3, S, S) in [0, 1]."""
    if images.ndim != 4 or images.shape[1] != 3 or images.shape[2] != images.shape[3]:
        raise ValueError(f"a restorer takes RGB images of shape (B, 3, S, S), not {tuple(images.shape)}")
    if images.dtype != torch.float32:
        raise ValueError(f"a restorer takes float32 images, not {images.dtype}")
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        low, high = images.min().item(), images.max().item()
        raise ValueError(f"a restorer takes images in [0, 1], not [{low:.3g}, {high:.3g}]")


def resize(images: Tensor, side: int) -> Tensor:
    """Resize bicubically with antialiasing, clamped to [0, 1] because bicubic overshoots."""
    if images.shape[-1] == side:
        return images
    return F.interpolate(images, (side, side), mode="bicubic", antialias=True).clamp(0, 1)


def shrink(images: Tensor, factor: int) -> Tensor:
    """Shrink (B, 3, S, S) to (B, 3, S / factor, S / factor). Raises ValueError if S is not a multiple of factor."""
    side = images.shape[-1]
    if side % factor:
        raise ValueError(
            f"the working size {side} is not a multiple of {factor}, the scale of this restorer: "
            f"work at {side // factor * factor or factor} pixels"
        )
    return resize(images, side // factor)


@dataclass(frozen=True)
class LanczosRestorer:
    """The classical baseline: Lanczos in place of an upscaling network.

    The low-quality image is first shrunk by the scale with antialiasing, so the baseline gets exactly the input of
    the x4 networks. Runs on the CPU, one image at a time.
    """

    spec: RestorerSpec

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def provenance(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "kind": self.spec.kind,
            "title": self.spec.title,
            "version": f"torch {TORCH_VERSION}",
            "weights_file": None,
            "weights_sha256": None,
            "architecture": "Lanczos-3",
            "scale": self.spec.scale,
            "input_range": "[0, 1]",
            "licence": self.spec.licence,
            "parameters": dict(self.spec.parameters),
        }

    @torch.no_grad()
    def restore(self, lq: Tensor, subjects: Sequence[Subject] = ()) -> Tensor:
        check_images(lq)
        small = shrink(lq.cpu(), self.spec.scale)
        side = lq.shape[-1]
        enlarged = F.interpolate(small, (side, side), mode="lanczos", antialias=True)
        return enlarged.clamp(0, 1).to(lq.device)
