"""Restorers without a chain of steps, GFPGAN and CodeFormer, as policies (Table 15).

They have no noise to predict, so Eq. 5 compares their outputs with the frozen network's. Nothing is sampled: a face has
one restoration. The paper sees little gain from tuning them, and attributes it to that.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from refl.errors import WeightsError
from refl.policies import blocks
from refl.policies.noise import Noise
from refl.policies.policy import Call, Policy, Trajectory
from refl.policies.prompts import NoText
from refl.weights import read_state, recognise, require_flat
from rewardlab.torchvision_stub import ensure_torchvision
from rewardlab.weight_files import misfits

ensure_torchvision()

from spandrel.architectures.GFPGAN import GFPGAN  # noqa: E402

# GFPGAN's layers that produce an image at each resolution (toRGB) and the mapping network of its generator (style_mlp)
# take no part in a restoration, so they have no gradient.
GFPGAN_BLOCKS: blocks.Blocks = {
    "modulation": ("condition_scale", "condition_shift"),
    "generator": (
        "stylegan_decoder.constant_input", "stylegan_decoder.style_conv1", "stylegan_decoder.style_convs",
        "stylegan_decoder.to_rgb1", "stylegan_decoder.to_rgbs",
    ),
    "encoder": ("conv_body_first", "conv_body_down", "conv_body_up", "final_conv", "final_linear"),
}  # fmt: skip
# Channels at the full resolution 2^level of a GFPGAN with the channel multiplier 1.
CHANNELS_OF_TOP = {6: 128, 7: 64, 8: 32, 9: 16, 10: 8}
# The encoder and the transformer choose codes, a choice without gradient.
CODEFORMER_BLOCKS: blocks.Blocks = {"fuse": ("fuse_convs_dict",), "generator": ("generator",)}


class FeedForwardPolicy(Policy):
    """A network that maps an image to its restoration.

    network: maps (B, 3, S, S) in [-1, 1] to a tuple whose first item is the restoration in about [-1, 1]. options: of
    its call. trained: names of the blocks that are trained.
    """

    regularisers = frozenset({"output"})

    def __init__(
        self,
        network: nn.Module,
        *,
        size: int,
        known: blocks.Blocks,
        trained: Sequence[str],
        options: Mapping[str, Any],
        repeated: Sequence[nn.Module] = (),
    ) -> None:
        """repeated: modules that recompute their activations with `use_checkpointing`."""
        super().__init__(texts=NoText(), size=size)
        self.network, self.options, self._repeated = network, dict(options), tuple(repeated)
        self.multiple = size  # the networks accept no other size
        self.eval()
        self.set_trainable(blocks.parameters_of(network, known, trained))

    @property
    def tuned(self) -> nn.Module:
        return self.network

    def use_checkpointing(self) -> None:
        blocks.recompute(self._repeated)

    def trajectory(self, lq: Tensor, prompts: Sequence[str], noise: Noise, *, backprop_steps: int = 1) -> Trajectory:
        self.texts(prompts, lq)
        inputs = {"x": 2 * lq - 1, **self.options}
        restored = (self.network(**inputs)[0] + 1) / 2
        return Trajectory(restored, (Call(inputs, (restored,)),), lq)

    def decode(self, latents: Tensor) -> Tensor:
        return latents

    def frozen_outputs(self, call: Call) -> tuple[Tensor, ...]:
        return ((self._call_frozen(call)[0] + 1) / 2,)


def open_gfpgan(file: Path, *, trained: Sequence[str] = ()) -> FeedForwardPolicy:
    """Open GFPGAN v1.3 or v1.4, or a smaller network of its structure.

    trained: blocks of `GFPGAN_BLOCKS`; by default "modulation" and "generator". The modulation passes what the encoder
    sees on to the generator, which draws the face: these decide the realism that the reward measures, while the encoder
    keeps what it knows about degradations. The noise is the file's, as in inference. Raises FileNotFoundError or
    `WeightsError`.
    """
    state = read_state(file)
    require_flat(state, file)
    network = _gfpgan_of(state, file)
    generator = network.stylegan_decoder
    return FeedForwardPolicy(
        network,
        size=2**network.log_size,
        known=GFPGAN_BLOCKS,
        trained=trained or ("modulation", "generator"),
        options={"return_rgb": False, "randomize_noise": False},
        repeated=[*network.conv_body_down, *network.conv_body_up, *generator.style_convs],
    )


def _gfpgan_of(state: Mapping[str, Tensor], file: Path) -> Any:
    """Build GFPGAN with the sizes of the file's tensors."""
    levels = sum(name.startswith("conv_body_down.") and name.endswith("conv1.weight") for name in state) + 2
    if levels not in CHANNELS_OF_TOP or not {"final_linear.weight", "final_conv.weight"} <= state.keys():
        raise WeightsError(f"{file} is not a checkpoint of GFPGAN's clean version. Pass GFPGANv1.4.pth or v1.3.")
    narrow = state["final_conv.weight"].shape[0] / 256
    network = GFPGAN(
        out_size=2**levels,
        num_style_feat=state["final_linear.weight"].shape[0] // (2 * levels - 2),
        channel_multiplier=round(state["conv_body_first.weight"].shape[0] / narrow / CHANNELS_OF_TOP[levels]),
        narrow=narrow,
    )
    if faults := misfits(network.state_dict(), state):
        raise WeightsError(f"{file} does not fit GFPGAN: {faults}. Check that it is the right file.")
    network.load_state_dict(state)
    return network.float()


def open_codeformer(file: Path, *, fidelity: float = 0.5, trained: Sequence[str] = ()) -> FeedForwardPolicy:
    """Open CodeFormer, whose architecture needs the package spandrel_extra_arches (non-commercial licence).

    fidelity: w of the paper; 0 favours quality, 1 fidelity. trained: blocks of `CODEFORMER_BLOCKS`; by default both,
    without "fuse" if the fidelity is 0. The choice of codes is discrete and has no gradient, so the blocks after it are
    trained: the layers that fuse the encoder's features, and the generator. Raises FileNotFoundError, `WeightsError` or
    `ValueError`.
    """
    descriptor = recognise(read_state(file), file)
    if descriptor.architecture.id != "CodeFormer":
        raise WeightsError(f"{file} contains {descriptor.architecture.id}, not CodeFormer. Pass codeformer.pth.")
    chosen = trained or (("fuse", "generator") if fidelity else ("generator",))
    if "fuse" in chosen and not fidelity:
        raise ValueError("--fidelity 0 leaves out CodeFormer's fuse layers: raise it, or use --blocks generator")
    network = descriptor.model
    return FeedForwardPolicy(
        network,
        size=512,
        known=CODEFORMER_BLOCKS,
        trained=chosen,
        options={"weight": fidelity},
        repeated=list(network.generator.blocks),
    )
