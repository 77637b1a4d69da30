"""DR2 + SPAR as a policy without text (Table 15): a diffusion model on pixels, then an enhancer that stays as it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from refl.networks.adm_unet import ADMUNet, UNetConfig
from refl.networks.dr2 import DR2SPAR, SIZE, UNET, open_dr2_spar
from refl.networks.sparnet import SPARNetConfig
from refl.policies import blocks
from refl.policies.noise import Noise
from refl.policies.policy import ALL_STEPS, Call, Policy, Trajectory
from refl.policies.prompts import NoText

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
    def input_size(self) -> int:
        return self.system.remover.size

    @property
    def denoising_steps(self) -> int:
        return self.system.remover.steps

    def use_checkpointing(self) -> None:
        blocks.recompute([*self.unet.input_blocks, self.unet.middle_block, *self.unet.output_blocks])

    def trajectory(self, lq: Tensor, prompts: Sequence[str], noise: Noise, *, backprop_steps: int = 1) -> Trajectory:
        """Run from the noised input to x0 (B, 3, s, s) in [-1, 1], s = `input_size`. lq may have that size already."""
        self.texts(prompts, lq)
        remover = self.system.remover
        images = 2 * _resize(lq, remover.size) - 1
        kept = None if backprop_steps == ALL_STEPS else backprop_steps
        clean, steps = remover(images, noise.ahead(remover.draws, images), with_gradient=kept)
        calls = [Call({"x": step.x, "timesteps": step.timesteps}, (step.output,), step.epsilon) for step in steps]
        return Trajectory(clean, tuple(calls), lq)

    def decode(self, latents: Tensor) -> Tensor:
        """Enhance x0 (B, 3, s, s) to (B, 3, S, S)."""
        return self.system.enhance(latents)

    def frozen_outputs(self, call: Call) -> tuple[Tensor, ...]:
        return (self._call_frozen(call),)

    def frozen_epsilon(self, call: Call) -> Tensor:
        return self.frozen_outputs(call)[0].float().chunk(2, dim=1)[0]


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
