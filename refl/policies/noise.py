"""Noise that depends on the image's seed alone."""

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
