"""The linear noise schedule of Ho et al. (Denoising Diffusion Probabilistic Models, NeurIPS 2020), with fewer steps."""

from collections.abc import Sequence

import torch
from torch import Tensor

TIMESTEPS = 1000


class LinearSchedule:
    """Variances at selected timesteps of 1000. Indices run from 0 (least noise).

    times: the selected timesteps, increasing. alpha_bar: share of the image's variance that is left at each; betas: the
    variance that a step adds when only the selected steps are taken. Both in float64.
    """

    def __init__(self, times: Sequence[int]) -> None:
        self.times = list(times)
        every = (1 - torch.linspace(1e-4, 0.02, TIMESTEPS, dtype=torch.float64)).cumprod(0)
        self.alpha_bar = every[self.times]
        self.alpha_bar_before = torch.cat([self.alpha_bar.new_ones(1), self.alpha_bar[:-1]])
        self.betas = 1 - self.alpha_bar / self.alpha_bar_before
        variance = self.betas * (1 - self.alpha_bar_before) / (1 - self.alpha_bar)
        # It is 0 at the first step, whose logarithm is replaced by the next one.
        self.smallest_log_variance = torch.cat([variance[1:2], variance[1:]]).log()

    def add_noise(self, images: Tensor, noise: Tensor, index: int) -> Tensor:
        """Return images (B, 3, S, S) in [-1, 1] with the noise of a step: sqrt(abar) x + sqrt(1 - abar) n."""
        alpha_bar = self.alpha_bar[index]
        return float(alpha_bar.sqrt()) * images + float((1 - alpha_bar).sqrt()) * noise

    def clean(self, noisy: Tensor, epsilon: Tensor, index: int) -> Tensor:
        """Return x0 for a predicted noise, clamped to [-1, 1]. The gradient of clamped pixels passes unchanged."""
        alpha_bar = self.alpha_bar[index]
        x0 = float((1 / alpha_bar).sqrt()) * noisy - float((1 / alpha_bar - 1).sqrt()) * epsilon
        return x0.detach().clamp(-1, 1) + (x0 - x0.detach())

    def ancestral(self, noisy: Tensor, clean: Tensor, variance: Tensor, noise: Tensor, index: int) -> Tensor:
        """Draw the previous step given x0. variance: the network's share in [-1, 1]; noise: unused at index 0."""
        before, now = self.alpha_bar_before[index], self.alpha_bar[index]
        beta = self.betas[index]
        mean = (
            float(beta * before.sqrt() / (1 - now)) * clean
            + float((1 - before) * (1 - beta).sqrt() / (1 - now)) * noisy
        )
        if index == 0:
            return mean
        share = (variance + 1) / 2
        log_variance = share * float(beta.log()) + (1 - share) * float(self.smallest_log_variance[index])
        return mean + (log_variance / 2).exp() * noise

    def ddim(self, clean: Tensor, epsilon: Tensor, noise: Tensor, eta: float, index: int) -> Tensor:
        """Take a DDIM step to the previous index. eta: 0 is deterministic; noise: unused at index 0."""
        before, now = self.alpha_bar_before[index], self.alpha_bar[index]
        sigma = eta * ((1 - before) / (1 - now)).sqrt() * (1 - now / before).sqrt()
        mean = float(before.sqrt()) * clean + float((1 - before - sigma**2).clamp(min=0).sqrt()) * epsilon
        return mean if index == 0 else mean + float(sigma) * noise
