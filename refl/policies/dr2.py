"""DR2 + SPAR as a policy without text (Table 15): a diffusion model on pixels, then an enhancer that stays as it is."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refl.networks.adm_unet import ADMUNet, UNetConfig
from refl.networks.dr2 import DR2SPAR, SIZE, UNET, open_dr2_spar
from refl.networks.sparnet import SPARNetConfig
from refl.policies import blocks
from refl.policies.diffusion import one_step_x0
from refl.policies.noise import Noise
from refl.policies.policy import ALL_STEPS, Call, Policy, Trajectory
from refl.policies.prompts import NoText

ASSET, SPARNET_ASSET = "dr2", "sparnethd-dr2"
BLOCKS: blocks.Blocks = {
    "decoder": ("output_blocks", "out"),
    "middle": ("middle_block",),
    "encoder": ("input_blocks", "time_embed"),
}
DEFAULT_BLOCKS = ("decoder",)


@dataclass(frozen=True)
class Structure:
    """Structure of the networks, which their files do not state. size: side of DR2's images in pixels."""

    unet: UNetConfig
    enhancer: SPARNetConfig
    size: int


STRUCTURE = Structure(UNET, SPARNetConfig(), SIZE)


class DR2Policy(Policy):
    """DR2's chain, guided by the low frequencies of the input; the enhancer decodes its result.

    system: DR2 and SPARNetHD with their settings. trained: blocks of DR2's U-Net that are trained.
    """

    regularisers = frozenset({"eps"})

    def __init__(self, system: DR2SPAR, *, trained: Sequence[str] = DEFAULT_BLOCKS) -> None:
        super().__init__(texts=NoText(), size=system.enhancer.config.size)
        self.system = system
        self.multiple = self.size
        self.eval()
        self.set_trainable(blocks.parameters_of(self.unet, BLOCKS, trained))

    @property
    def unet(self) -> ADMUNet:
        return self.system.remover.unet

    @property
    def tuned(self) -> nn.Module:
        return self.unet

    @property
    def denoising_steps(self) -> int:
        remover = self.system.remover
        return remover.start - remover.tau + 1

    def use_checkpointing(self) -> None:
        blocks.recompute([*self.unet.input_blocks, self.unet.middle_block, *self.unet.output_blocks])

    def trajectory(self, lq: Tensor, prompts: Sequence[str], noise: Noise, *, backprop_steps: int = 1) -> Trajectory:
        """Run from the noised input to x0 (B, 3, s, s) in [-1, 1], s = 256 for DR2."""
        self.texts(prompts, lq)
        remover, kept = self.system.remover, backprop_steps
        images = 2 * _resize(lq, remover.size) - 1
        x = remover.schedule.add_noise(images, noise.like(images), remover.start)
        calls = []
        for index in range(remover.start, remover.tau - 1, -1):
            keeps_gradient = kept == ALL_STEPS or index < remover.tau + kept
            with nullcontext() if keeps_gradient else torch.no_grad():
                times = torch.full((len(x),), remover.schedule.times[index], device=x.device)
                output = self.unet(x, times)
                epsilon, variance = output.float().chunk(2, dim=1)
                if keeps_gradient:
                    calls.append(Call({"x": x, "timesteps": times}, (output,), epsilon))
                clean = clamp_with_gradient(one_step_x0(x, epsilon, remover.schedule.alpha_bar[index]))
                if index > remover.tau:
                    x = self._refined(x, clean, variance, images, noise, index)
        return Trajectory(clean, tuple(calls), lq)

    def _refined(self, x: Tensor, clean: Tensor, variance: Tensor, images: Tensor, noise: Noise, index: int) -> Tensor:
        """Draw the previous step, and replace its low frequencies by those of the input."""
        remover = self.system.remover
        x = remover.schedule.ancestral(x, clean, variance, noise.like(x), index)
        given = remover.schedule.add_noise(images, noise.like(x), index - 1)
        low_pass = remover.low_pass
        with torch.autocast(x.device.type, enabled=False):
            return x + low_pass @ (given - x) @ low_pass.T

    def decode(self, latents: Tensor) -> Tensor:
        """Enhance x0 (B, 3, s, s) to (B, 3, S, S)."""
        enlarged = F.interpolate(latents, (self.size, self.size), mode="bicubic")
        enhanced: Tensor = (self.system.enhancer(enlarged) + 1) / 2
        return enhanced

    def frozen_outputs(self, call: Call) -> tuple[Tensor, ...]:
        return (self._call_frozen(call),)

    def frozen_epsilon(self, call: Call) -> Tensor:
        return self.frozen_outputs(call)[0].float().chunk(2, dim=1)[0]


def clamp_with_gradient(images: Tensor) -> Tensor:
    """Clamp to [-1, 1], as the published sampler does, but pass the gradient of every pixel."""
    return images + (images.clamp(-1, 1) - images).detach()


def open_dr2(
    unet: Path,
    sparnet: Path,
    *,
    low_pass: int = 8,
    tau: int = 35,
    trained: Sequence[str] = DEFAULT_BLOCKS,
) -> DR2Policy:
    """Open `DR2_FFHQ.pkl` (asset "dr2") and `SPARNetHD_FFHQ_DR2aug.pth` (asset "sparnethd-dr2").

    low_pass, tau: N and tau of the paper. trained: blocks of `BLOCKS`; by default "decoder", the half that draws the
    image, with half of the parameters; the encoder keeps what it knows about noisy faces. Raises FileNotFoundError or
    `WeightsError`.
    """
    system = open_dr2_spar(
        unet,
        sparnet,
        N=low_pass,
        tau=tau,
        config=STRUCTURE.unet,
        enhancer=STRUCTURE.enhancer,
        size=STRUCTURE.size,
    )
    return DR2Policy(system, trained=trained or DEFAULT_BLOCKS)


def _resize(images: Tensor, size: int) -> Tensor:
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bicubic", antialias=True).clamp(0, 1)
