"""Codecs between images and a policy's latents."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refl.policies import low_precision
from refl.policies.noise import Noise

if TYPE_CHECKING:
    from diffusers import AutoencoderKL


class UnshuffleCodec(nn.Module):
    """A fixed, lossless stand-in for a VAE: `factor` x `factor` pixels become channels, scaled to about unit variance.

    A learned autoencoder as small as the compact policies would blur more than they restore.
    """

    def __init__(self, factor: int = 4, scale: float = 2.0) -> None:
        super().__init__()
        self.factor, self.scale = factor, scale
        self.channels = 3 * factor**2

    def encode(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """Encode (B, 3, H, W) in [0, 1] to (B, 3 f^2, H / f, W / f)."""
        return F.pixel_unshuffle(2 * images - 1, self.factor) * self.scale

    def lower(self, dtype: torch.dtype) -> None:
        """Do nothing: it has no weights."""

    def decode(self, latents: Tensor) -> Tensor:
        """Decode (B, 3 f^2, h, w) to (B, 3, h f, w f); inverts `encode`, without clamping."""
        return (F.pixel_shuffle(latents / self.scale, self.factor) + 1) / 2


class KLCodec(nn.Module):
    """Stable Diffusion's autoencoder (AutoencoderKL of diffusers) with its scaling factor."""

    def __init__(self, vae: "AutoencoderKL", *, sample: bool) -> None:
        """sample: encode to a sample of the posterior (OSEDiff), not to its mode (DiffBIR)."""
        super().__init__()
        self.vae = vae
        self.sample = sample
        self.dtype: torch.dtype | None = None  # of the networks' inputs, if it is not that of the images

    def lower(self, dtype: torch.dtype) -> None:
        """Store the autoencoder in `dtype` and compute in it; images and latents stay in float32."""
        low_precision.store(self.vae, dtype)
        self.dtype = dtype

    def encode(self, images: Tensor, noise: Noise | None = None) -> Tensor:
        """Encode (B, 3, H, W) in [0, 1] to (B, 4, H / 8, W / 8). Sampling needs `noise`."""
        given = 2 * images - 1
        posterior = self.vae.encode(given.to(self.dtype or given.dtype)).latent_dist
        latents = _at_least_float32(posterior.mode())
        if self.sample:
            if noise is None:
                raise ValueError("this autoencoder samples its latents: pass noise")
            latents = latents + _at_least_float32(posterior.std) * noise.like(latents)
        scaled: Tensor = latents * self.vae.config.scaling_factor
        return scaled

    def decode(self, latents: Tensor) -> Tensor:
        """Decode (B, 4, h, w) to (B, 3, 8h, 8w), roughly in [0, 1]. Not clamped, so that every pixel has a gradient."""
        given = latents / self.vae.config.scaling_factor
        decoded = self.vae.decode(given.to(self.dtype or given.dtype)).sample
        return (_at_least_float32(decoded) + 1) / 2


def _at_least_float32(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float32))
