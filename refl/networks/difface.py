"""DifFace: SwinIR's estimate is noised, and a diffusion model denoises it.

Yue and Loy, DifFace: Blind Face Restoration with Diffused Error Contraction, TPAMI 2024.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from refl.errors import OptionError
from refl.networks.adm_unet import ADMUNet, UNetConfig
from refl.networks.linear_schedule import TIMESTEPS, LinearSchedule
from refl.networks.loading import Draw, open_network
from refl.networks.swinir import open_swinir

UNET = UNetConfig(
    channels=32,
    multipliers=(1, 2, 4, 8, 8, 16, 16),
    blocks=(1, 2, 2, 2, 2, 3, 4),
    attention_levels=(4, 5, 6),
    residual_resampling=False,
)
SIZE = 512
ASSET = "difface-swinir"


class DifFace(nn.Module):
    """Restore by the last part of a DDIM chain.

    steps: of the whole chain. start: index of the step whose noise is added to the estimate; denoising begins one step
    below it, as in the authors' code. eta: 0 is deterministic, 1 is ancestral sampling.
    """

    def __init__(
        self, estimator: nn.Module, unet: ADMUNet, *, steps: int, start: int, eta: float, size: int = SIZE
    ) -> None:
        super().__init__()
        self.estimator, self.unet, self.size = estimator, unet, size
        self.start, self.eta = start, eta
        self.schedule = LinearSchedule(range(0, TIMESTEPS, TIMESTEPS // steps))

    def forward(self, images: Tensor, draw: Draw) -> Tensor:
        """Restore (B, 3, S, S) in [0, 1] to about the same range, S = `size`."""
        estimate = self.estimator(images).clamp(0, 1)
        x = self.schedule.add_noise(2 * estimate - 1, draw(images), self.start)
        for index in reversed(range(self.start)):
            times = torch.full((len(x),), self.schedule.times[index], device=x.device)
            epsilon = self.unet(x, times)[:, :3]
            clean = self.schedule.clean(x, epsilon, index)
            x = self.schedule.ddim(clean, epsilon, draw(x), self.eta, index)
        return (x + 1) / 2


def open_difface(
    unet: Path,
    swinir: Path,
    *,
    steps: int = 250,
    start: int = 100,
    eta: float = 0.5,
    config: UNetConfig = UNET,
    size: int = SIZE,
) -> DifFace:
    """Open `iddpm_ffhq512_ema500000.pth` (asset "difface") and `swinir_restoration512_L1.pth` (asset "difface-swinir").

    steps, start, eta: see `DifFace`; steps must divide 1000. config, size: the U-Net's structure. Raises
    FileNotFoundError, `WeightsError`, or `OptionError`.
    """
    if start >= steps:
        raise OptionError(f"difface: start cannot be {start}, since the chain has {steps} steps. Choose a smaller one.")
    estimator = open_swinir(swinir, ASSET).requires_grad_(False)
    return DifFace(estimator, open_network(lambda: ADMUNet(config), unet), steps=steps, start=start, eta=eta, size=size)
