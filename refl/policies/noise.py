"""Noise that depends on the image's seed alone."""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor


class Noise:
    """Gaussian noise with a generator per image: an image's n-th draw is the same in any batch and on any device."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def like(self, latents: Tensor) -> Tensor:
        """Draw noise of the shape, device and dtype of `latents` (B, C, h, w)."""
        drawn = [torch.randn(latents.shape[1:], generator=generator) for generator in self.generators]
        return torch.stack(drawn).to(latents.device, latents.dtype)


def content_seed(image: Tensor) -> int:
    """Return a seed that depends on the pixels of an image (3, S, S) in [0, 1], at eight bits."""
    pixels = image.mul(255).round().byte().cpu().numpy().tobytes()
    return int.from_bytes(hashlib.blake2b(pixels, digest_size=4).digest(), "big")
