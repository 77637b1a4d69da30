"""DiffBIR v1 (face): SwinIR removes the degradation, Stable Diffusion with an IRControlNet adds detail."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refl.bases import BASES
from refl.networks import swinir
from refl.policies.codecs import KLCodec
from refl.policies.controlnet import IRControlNet
from refl.policies.diffusion import MultiStepPolicy, sd_schedule
from refl.policies.stable_diffusion import open_stable_diffusion, require, require_fit
from refl.weights import read_state
from rewardlab.torchvision_stub import ensure_torchvision
from rewardlab.weight_files import misfits, misfits_of

ensure_torchvision()

from diffusers import UNet2DConditionModel  # noqa: E402
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint  # noqa: E402

FILES = BASES["diffbir"].files
LEVELS = 5  # wavelet levels of the colour fix
# Prefixes in a file that contains all of DiffBIR. Names without a dot are the noise schedule.
WHOLE_CONTROLNET = "control_model."
WHOLE_OTHERS = ("model.", "first_stage_model.", "cond_stage_model.", "cond_encoder.", "preprocess_model.")
CONDITION = "controlnet_cond_embedding.weight"  # key in IRControlNet; in the file it is part of the first convolution


class DiffBIRPolicy(MultiStepPolicy):
    """A `MultiStepPolicy` with SwinIR as stage 1.

    Sides must be multiples of 64, SwinIR's unshuffling factor (8) times its window size (8).
    """

    def finish(self, images: Tensor, clean: Tensor) -> Tensor:
        """Fix the colours: return the high bands of `images` plus the low band of `clean`, both (B, 3, S, S)."""
        return images + low_band(clean - images)


def open_diffbir(
    sd_folder: Path, controlnet_file: Path, swinir_file: Path, *, steps: int = 50, eta: float = 1.0
) -> DiffBIRPolicy:
    """Open DiffBIR on SD-2.1-base, with a trainable ControlNet (App. B).

    sd_folder: see `open_stable_diffusion`. controlnet_file: `v1_face.pth` (asset "diffbir-face"), with the key
    names of the latent-diffusion code. swinir_file: `face_swinir_v1.ckpt` (asset "diffbir-swinir-face"). steps, eta:
    see `MultiStepPolicy`. The condition is the mode of the VAE's posterior. Raises `MissingAsset` or `WeightsError`.
    """
    require(controlnet_file, FILES["checkpoint"])
    with torch.random.fork_rng(devices=[]):  # networks are randomly initialised before their weights are loaded
        cleaner = open_swinir(swinir_file)
        base = open_stable_diffusion(sd_folder)
        controlnet = open_controlnet(controlnet_file, base.unet)
    return DiffBIRPolicy(
        cleaner=cleaner,
        controlnet=controlnet,
        steps=steps,
        eta=eta,
        unet=base.unet,
        codec=KLCodec(base.vae, sample=False),
        texts=base.texts,
        schedule=sd_schedule(),
        size=base.size,
    )


def open_swinir(file: Path) -> nn.Module:
    """Open stage 1, which maps (B, 3, S, S) in [0, 1] to roughly the same range."""
    return swinir.open_swinir(require(file, FILES["swinir"]), FILES["swinir"])


def open_controlnet(file: Path, unet: UNet2DConditionModel) -> IRControlNet:
    """Create a ControlNet of the UNet's size and load a file with the key names of the latent-diffusion code."""
    controlnet = IRControlNet.from_unet(unet, load_weights_from_unet=False)
    state = convert_controlnet(controlnet_of(read_state(file), file), controlnet, file)
    controlnet.load_state_dict(state)
    opened: IRControlNet = controlnet.eval()
    return opened


def controlnet_of(stored: Mapping[str, Tensor], file: Path) -> dict[str, Tensor]:
    """Return the ControlNet of a file that contains all of DiffBIR, as its first releases did; others unchanged.

    The other parts are read from their own files: Stable Diffusion was not trained, and SwinIR has a file. Raises
    `WeightsError` naming tensors of no known part.
    """
    if not any(name.startswith(WHOLE_CONTROLNET) for name in stored):
        return dict(stored)
    foreign = [name for name in stored if "." in name and not name.startswith((WHOLE_CONTROLNET, *WHOLE_OTHERS))]
    require_fit(file, misfits_of(foreign=foreign))
    return {
        name.removeprefix(WHOLE_CONTROLNET): value
        for name, value in stored.items()
        if name.startswith(WHOLE_CONTROLNET)
    }


def convert_controlnet(stored: Mapping[str, Tensor], controlnet: IRControlNet, file: Path) -> dict[str, Tensor]:
    """Rename `stored` to the keys of `controlnet`, and split the first convolution, which takes cat(z_t, c_LQ).

    The bias and the weights of z_t's channels become `conv_in`; the weights of c_LQ's channels become the condition's
    convolution. Raises `WeightsError` unless all tensors match.
    """
    wanted = controlnet.state_dict()
    # The converter of diffusers only renames keys, so it also works with names as values.
    renamed = convert_controlnet_checkpoint({name: name for name in stored}, controlnet.config)
    sources = {name: source for name, source in renamed.items() if source is not None}
    unused = [name for name in stored if name not in set(sources.values())]
    faults = misfits_of(
        missing=[name for name in wanted if name not in sources and name != CONDITION],
        foreign=[source for name, source in sources.items() if name not in wanted] + unused,
    )
    require_fit(file, faults)
    state = {name: stored[source] for name, source in sources.items()}
    channels = controlnet.config["in_channels"]
    first = state["conv_in.weight"]
    state["conv_in.weight"], state[CONDITION] = first[:, :channels], first[:, channels:]
    require_fit(file, misfits(wanted, state))
    return state


def low_band(images: Tensor, levels: int = LEVELS) -> Tensor:
    """Return the low band of the à-trous wavelet transform, (B, C, H, W). Linear.

    It is the result of `levels` blurs with the separable kernel (1 2 1) / 4, whose taps are 1, 2, 4, ... pixels apart.
    The remainder are the high bands.
    """
    channels = images.shape[1]
    row = images.new_tensor([0.25, 0.5, 0.25])
    kernel = torch.outer(row, row).expand(channels, 1, 3, 3)
    for level in range(levels):
        dilation = 2**level
        padded = F.pad(images, (dilation,) * 4, mode="replicate")
        images = F.conv2d(padded, kernel, dilation=dilation, groups=channels)
    return images
