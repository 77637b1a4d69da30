"""Noise that depends on the image's seed alone."""

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class Noise:
    """Gaussian noise with a generator per image: an image's n-th draw is the same in any batch and on any device."""

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def like(self, latents: Tensor) -> Tensor:
        """Draw noise of the shape, device and dtype of `latents` (B, C, h, w)."""
        return self._draw(1, latents)[0]

    def ahead(self, count: int, latents: Tensor) -> Callable[[Tensor], Tensor]:
        """Return a function like `like` for the next `count` draws, which are made now and copied to the device once.

        A chain of steps that draws in between would wait for a copy at every step. latents (B, C, h, w): has the shape,
        device and dtype of all draws.
        """
        drawn = iter(self._draw(count, latents) if count else ())
        return lambda _: next(drawn)

    def _draw(self, count: int, latents: Tensor) -> Tensor:
        """Return (count, B, C, h, w)."""
        shape = latents.shape[1:]
        drawn = torch.stack(
            [torch.stack([torch.randn(shape, generator=each) for each in self.generators]) for _ in range(count)]
        ).to(latents.dtype)
        if latents.is_cuda:
            return drawn.pin_memory().to(latents.device, non_blocking=True)
        return drawn.to(latents.device)


def content_seed(image: Tensor) -> int:
    """Return a seed that depends on the pixels of an image (3, S, S) in [0, 1], at eight bits."""
    pixels = image.mul(255).round().byte().cpu().numpy().tobytes()
    return int.from_bytes(hashlib.blake2b(pixels, digest_size=4).digest(), "big")
