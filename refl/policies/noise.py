"""Noise that belongs to an image."""

from collections.abc import Sequence

import torch
from torch import Tensor


class Noise:
    """Gaussian noise of an image: the n-th draw is the same alone, in a batch, and on any device."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def like(self, latents: Tensor) -> Tensor:
        """Draw (B, C, h, w) like `latents`, from each image's own generator."""
        drawn = [torch.randn(latents.shape[1:], generator=generator) for generator in self.generators]
        return torch.stack(drawn).to(latents.device, latents.dtype)
