"""DR2, which removes the degradation of a face by a diffusion model guided by the low frequencies of the input.

Wang et al., DR2: Diffusion-based Robust Degradation Remover for Blind Face Restoration, CVPR 2023.
"""

from pathlib import Path

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

    def forward(self, images: Tensor, draw: Draw) -> Tensor:
        """Return smooth faces without degradation. Both are (B, 3, S, S) in [-1, 1], S = `size`."""
        x = self.schedule.add_noise(images, draw(images), self.start)
        for index in range(self.start, self.tau - 1, -1):
            times = torch.full((len(x),), self.schedule.times[index], device=x.device)
            epsilon, variance = self.unet(x, times).chunk(2, dim=1)
            clean = self.schedule.clean(x, epsilon, index)
            if index == self.tau:
                break
            x = self.schedule.ancestral(x, clean, variance, draw(x), index)
            given = self.schedule.add_noise(images, draw(x), index - 1)
            # Replace the low frequencies by those of the input.
            x = x + self.low_pass @ (given - x) @ self.low_pass.T
        return clean


class DR2SPAR(nn.Module):
    """DR2, then SPARNetHD on its enlarged result."""

    def __init__(self, remover: DR2, enhancer: SPARNet) -> None:
        super().__init__()
        self.remover, self.enhancer, self.size = remover, enhancer, remover.size

    def forward(self, images: Tensor, draw: Draw) -> Tensor:
        """Restore (B, 3, S, S) in [0, 1], S = `size`, to (B, 3, T, T) in about [0, 1], T = `enhancer.size`."""
        clean = self.remover(2 * images - 1, draw).clamp(-1, 1)
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
