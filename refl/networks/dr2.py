"""DR2, which removes the degradation of a face by a diffusion model guided by the low frequencies of the input.

Wang et al., DR2: Diffusion-based Robust Degradation Remover for Blind Face Restoration, CVPR 2023.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refl.networks.adm_unet import ADMUNet, UNetConfig
from refl.networks.cubic_resize import cubic_matrix
from refl.networks.linear_schedule import TIMESTEPS, LinearSchedule
from refl.networks.loading import Draw, open_network
from refl.networks.sparnet import SPARNet, SPARNetConfig, fold_spectral_norm

UNET = UNetConfig(
    channels=128,
    multipliers=(1, 1, 2, 2, 4, 4),
    blocks=(1,) * 6,
    attention_levels=(4,),
    residual_resampling=True,
)
SPARNET = SPARNetConfig()
SIZE, STEPS = 256, 100
# The chain starts this many steps above tau, by the largest N that has the entry (the authors' script).
START_ABOVE = {1: 5, 2: 10, 4: 20, 8: 25}
START_ABOVE_OTHERWISE = 30


class Step(NamedTuple):
    """A call of the U-Net: x (B, 3, S, S), timesteps (B,), its output (B, 6, S, S), and the predicted noise in it."""

    x: Tensor
    timesteps: Tensor
    output: Tensor
    epsilon: Tensor


class DR2(nn.Module):
    """The first stage. N: factor of the low-pass filter. tau: step of `STEPS` whose x0 is returned."""

    low_pass: Tensor

    def __init__(self, unet: ADMUNet, *, N: int, tau: int, size: int = SIZE) -> None:  # noqa: N803  (the paper's name)
        super().__init__()
        self.unet, self.size, self.factor, self.tau = unet, size, N, tau
        # Evenly spaced, the first and the last step included.
        self.schedule = LinearSchedule([round(i * (TIMESTEPS - 1) / (STEPS - 1)) for i in range(STEPS)])
        above = next((steps for most, steps in START_ABOVE.items() if most >= N), START_ABOVE_OTHERWISE)
        self.start = min(tau + above, STEPS - 1)
        self.register_buffer("low_pass", cubic_matrix(size // N, size) @ cubic_matrix(size, size // N))

    @property
    def steps(self) -> int:
        return self.start - self.tau + 1

    @property
    def draws(self) -> int:
        """The number of times that `forward` draws noise."""
        return 2 * self.steps - 1

    def forward(self, images: Tensor, draw: Draw, *, with_gradient: int | None = None) -> tuple[Tensor, list[Step]]:
        """Return smooth faces without degradation, and the last steps. Both images are (B, 3, S, S) in [-1, 1].

        with_gradient: number of last steps that have a gradient and are returned; None for all. S = `size`.
        """
        taken: list[Step] = []
        x = self.schedule.add_noise(images, draw(images), self.start)
        for index in range(self.start, self.tau - 1, -1):
            is_kept = with_gradient is None or index < self.tau + with_gradient
            with nullcontext() if is_kept else torch.no_grad():
                times = torch.full((len(x),), self.schedule.times[index], device=x.device)
                output = self.unet(x, times)
                epsilon, variance = output.float().chunk(2, dim=1)
                clean = self.schedule.clean(x, epsilon, index)
                if is_kept:
                    taken.append(Step(x, times, output, epsilon))
                if index > self.tau:
                    x = self._refined(self.schedule.ancestral(x, clean, variance, draw(x), index), images, draw, index)
        return clean, taken

    def _refined(self, x: Tensor, images: Tensor, draw: Draw, index: int) -> Tensor:
        """Replace the low frequencies by those of the input."""
        given = self.schedule.add_noise(images, draw(x), index - 1)
        with torch.autocast(x.device.type, enabled=False):
            return x + self.low_pass @ (given - x) @ self.low_pass.T


class DR2SPAR(nn.Module):
    """DR2, then SPARNetHD on its enlarged result."""

    def __init__(self, remover: DR2, enhancer: SPARNet) -> None:
        super().__init__()
        self.remover, self.enhancer = remover, enhancer

    def enhance(self, clean: Tensor) -> Tensor:
        """Enhance DR2's result (B, 3, S, S) in [-1, 1] to (B, 3, T, T) in about [0, 1], T = `enhancer.size`."""
        side = self.enhancer.config.size
        # Without antialiasing, as torchvision resized tensors when DR2 was published.
        enlarged = F.interpolate(clean, (side, side), mode="bicubic")
        restored: Tensor = (self.enhancer(enlarged) + 1) / 2
        return restored


def open_dr2_spar(
    unet: Path,
    sparnet: Path,
    *,
    N: int = 8,  # noqa: N803  (the paper's name)
    tau: int = 35,
    config: UNetConfig = UNET,
    enhancer: SPARNetConfig = SPARNET,
    size: int = SIZE,
) -> DR2SPAR:
    """Open `DR2_FFHQ.pkl` (asset "dr2") and `SPARNetHD_FFHQ_DR2aug.pth` (asset "sparnethd-dr2").

    N, tau: see `DR2`. config, enhancer, size: the networks' structure. Raises FileNotFoundError or `WeightsError`.
    """
    remover = DR2(open_network(lambda: ADMUNet(config), unet), N=N, tau=tau, size=size)
    return DR2SPAR(remover, open_network(lambda: SPARNet(enhancer), sparnet, fold_spectral_norm))
