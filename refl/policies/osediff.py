"""OSEDiff (face): Stable Diffusion with LoRAs in the UNet and the VAE encoder. It restores in one step at t = 999."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refl.bases import BASES
from refl.errors import WeightsError
from refl.policies.codecs import KLCodec
from refl.policies.diffusion import OneStepPolicy, sd_schedule
from refl.policies.stable_diffusion import open_stable_diffusion, require, require_fit
from refl.weights import read_state
from rewardlab.torchvision_stub import ensure_torchvision
from rewardlab.weight_files import misfits

ensure_torchvision()

from peft import LoraConfig  # noqa: E402

TIMESTEP = 999
# OSEDiff uses peft's default lora_alpha, so the scaling is 8 / 4 = 2 at its rank.
LORA_ALPHA = 8
# The UNet's adapters, and the entries of the file that list their modules.
ADAPTERS = {
    "default_encoder": "unet_lora_encoder_modules",
    "default_decoder": "unet_lora_decoder_modules",
    "default_others": "unet_lora_others_modules",
}
VAE_ADAPTER, VAE_MODULES = "default_encoder", "vae_lora_encoder_modules"
ENTRIES = {*ADAPTERS.values(), VAE_MODULES, "rank_unet", "rank_vae", "state_dict_unet", "state_dict_vae"}


def open_osediff(sd_folder: Path, checkpoint: Path) -> OneStepPolicy:
    """Open OSEDiff on SD-2.1-base, with a trainable LoRA in the UNet (App. B).

    sd_folder: see `open_stable_diffusion`. checkpoint: `osediff_face.pkl` (asset "osediff-face"): ranks, module
    lists, and the tensors of the LoRA and of the UNet's first convolution. Images are encoded to samples of the
    posterior. Raises `MissingAsset` or `WeightsError`.
    """
    stored = _read(checkpoint)
    base = open_stable_diffusion(sd_folder)
    with torch.random.fork_rng(devices=[]):  # adapters are randomly initialised before their weights are loaded
        for adapter, modules in ADAPTERS.items():
            _add_adapter(base.unet, adapter, stored["rank_unet"], stored[modules], checkpoint)
        _add_adapter(base.vae, VAE_ADAPTER, stored["rank_vae"], stored[VAE_MODULES], checkpoint)
    base.unet.set_adapter(list(ADAPTERS))
    _load(base.unet, stored["state_dict_unet"], checkpoint, lambda name: "lora_" in name or name.startswith("conv_in."))
    _load(base.vae, stored["state_dict_vae"], checkpoint, lambda name: "lora_" in name)
    return OneStepPolicy(
        timestep=TIMESTEP,
        adapters=list(ADAPTERS),
        unet=base.unet,
        codec=KLCodec(base.vae, sample=True),
        texts=base.texts,
        schedule=sd_schedule(),
        size=base.size,
    )


def _read(checkpoint: Path) -> dict[str, Any]:
    stored = read_state(require(checkpoint, BASES["osediff"].files["checkpoint"]))
    missing = sorted(ENTRIES - stored.keys())
    if missing:
        raise WeightsError(f"{checkpoint} is not an OSEDiff checkpoint: it lacks {', '.join(missing)}.")
    return stored


def _add_adapter(network: Any, adapter: str, rank: int, modules: Sequence[str], checkpoint: Path) -> None:
    try:
        with warnings.catch_warnings():
            # Several adapters are intended.
            warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)
            network.add_adapter(LoraConfig(r=rank, lora_alpha=LORA_ALPHA, target_modules=list(modules)), adapter)
    except (ValueError, TypeError) as error:
        raise WeightsError(
            f"{checkpoint}: the adapter {adapter} cannot be added to {type(network).__name__}: {error}"
        ) from error


def _load(network: nn.Module, stored: Mapping[str, Tensor], file: Path, is_stored: Callable[[str], bool]) -> None:
    wanted = {name: tensor for name, tensor in network.state_dict().items() if is_stored(name)}
    require_fit(file, misfits(wanted, stored))
    network.load_state_dict(stored, strict=False)
