"""Compact bases: small versions of OSEDiff and DiffBIR, which a CPU can train (`manage.py train_base`)."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from refl.errors import WeightsError
from refl.policies.codecs import UnshuffleCodec
from refl.policies.controlnet import IRControlNet
from refl.policies.diffusion import MultiStepPolicy, OneStepPolicy, sd_schedule
from refl.policies.noise import Noise
from refl.policies.prompts import NoText
from rewardlab.torchvision_stub import ensure_torchvision

ensure_torchvision()

from diffusers import UNet2DConditionModel  # noqa: E402
from peft import LoraConfig  # noqa: E402

Variant = Literal["one-step", "multi-step"]
CHANNELS = (96, 128, 192)
SIZE = 128
# sqrt(1 - abar) / sqrt(abar) = .34, so the one-step UNet adds a residual to lq.
TIMESTEP = 100
# t = 51, 41, ..., 1. From a higher noise level, a network this small leaves residual noise.
STEPS, START, ETA = 100, 0.06, 0.0
ADAPTER = "refl"
RANK = 16


def networks(variant: Variant, channels: tuple[int, ...] = CHANNELS) -> dict[str, Any]:
    """Create the trainable networks with random weights: a UNet and, for multi-step, a ControlNet."""
    latent = UnshuffleCodec().channels
    shared = {
        "in_channels": latent,
        "block_out_channels": channels,
        "layers_per_block": 1,
        "norm_num_groups": 16,
        "cross_attention_dim": 1,
        "down_block_types": ("DownBlock2D",) * len(channels),
        "mid_block_type": "UNetMidBlock2D",
    }
    unet = UNet2DConditionModel(
        sample_size=SIZE // 4, out_channels=latent, up_block_types=("UpBlock2D",) * len(channels), **shared
    )
    # Predict zero noise at first: a random last layer would produce a checkerboard at first.
    nn.init.zeros_(unet.conv_out.weight)
    if variant == "one-step":
        return {"unet": unet}
    return {"unet": unet, "controlnet": IRControlNet(**shared)}


def save(parts: dict[str, Any], variant: Variant, folder: Path) -> None:
    """Save each network as a diffusers folder."""
    for name, network in parts.items():
        network.save_pretrained(folder / name)
    (folder / "compact.json").write_text(json.dumps({"variant": variant, "size": SIZE}))


def variant_of(folder: Path) -> Variant:
    variant: Variant = json.loads((folder / "compact.json").read_text())["variant"]
    return variant


def load_unet(folder: Path, part: str = "unet") -> UNet2DConditionModel:
    """Load the UNet of a saved base. Raises `WeightsError` if its folder is missing or damaged."""
    return _load(UNet2DConditionModel, folder / part)


def _load(network: Any, folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder} has no config.json, so the base is incomplete. Copy the whole folder of its run.")
    try:
        return network.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(f"{folder} cannot be read as {network.__name__}: {error}. Copy it again.") from error


class Cleaner(nn.Module):
    """Stage 1 of a multi-step base: a one-step base."""

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.policy = assemble({"unet": unet})

    def forward(self, lq: Tensor) -> Tensor:
        """Restore (B, 3, S, S) in [0, 1]. Not clamped."""
        unused = Noise(range(len(lq)))  # neither the codec nor the single step samples
        return self.policy.decode(self.policy.trajectory(lq, [""] * len(lq), unused).latents)


def assemble(parts: dict[str, Any], *, adapters: Sequence[str] = ()) -> OneStepPolicy | MultiStepPolicy:
    """Build a policy from `unet` and, for multi-step, `controlnet` and `stage_1` (a one-step base's UNet)."""
    shared: dict[str, Any] = {
        "unet": parts["unet"],
        "codec": UnshuffleCodec(),
        "texts": NoText(),
        "schedule": sd_schedule(),
        "size": SIZE,
    }
    if "controlnet" in parts:
        cleaner = Cleaner(parts["stage_1"])
        return MultiStepPolicy(
            cleaner=cleaner, controlnet=parts["controlnet"], steps=STEPS, start=START, eta=ETA, **shared
        )
    return OneStepPolicy(timestep=TIMESTEP, adapters=adapters, **shared)


def load(folder: Path, *, seed: int = 0) -> OneStepPolicy | MultiStepPolicy:
    """Load a saved policy. A one-step policy gets a new LoRA, which has no effect until it is trained.

    Raises `WeightsError` if a network is missing or damaged.
    """
    unet = load_unet(folder)
    if variant_of(folder) == "multi-step":
        stage_1 = load_unet(folder, "stage_1")
        controlnet = _load(IRControlNet, folder / "controlnet")
        return assemble({"unet": unet, "controlnet": controlnet, "stage_1": stage_1})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=_deep_convolutions(unet)), ADAPTER)
    return assemble({"unet": unet}, adapters=[ADAPTER])


def _deep_convolutions(unet: UNet2DConditionModel) -> list[str]:
    """Return the names of the convolutions below the highest resolution.

    Convolutions near the output could repeat one 4 x 4 pattern over the image, as no autoencoder separates these
    latents from the pixels. Such a grid raises the reward but not the quality.
    """
    highest = ("conv_in", "conv_out", "down_blocks.0.", f"up_blocks.{len(unet.up_blocks) - 1}.")
    modules = unet.named_modules()
    return [name for name, module in modules if isinstance(module, nn.Conv2d) and not name.startswith(highest)]
