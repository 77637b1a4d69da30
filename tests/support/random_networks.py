"""The networks that are trained on a GPU, with random weights: of the published sizes, or tiny with the same layout.

No figure of speed or memory depends on the weights. Everything is made in float32, as the trainers open it.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from refl import configs
from refl.configs import ReflConfig
from refl.policies import compact, osediff
from refl.policies.codecs import KLCodec
from refl.policies.controlnet import IRControlNet
from refl.policies.diffbir import DiffBIRPolicy
from refl.policies.diffusion import MultiStepPolicy, OneStepPolicy, sd_schedule
from refl.policies.policy import Policy
from rewardlab import clip as rewardlab_clip
from rewardlab.clip import make_tokenizer, open_clip
from rewardlab.metrics import perceptual
from rewardlab.metrics.perceptual import Lpips
from rewardlab.reward_model.model import FaceRewardModel, Preprocess
from tests.support import diffusion, preferences

ARCHITECTURE = "ViT-H-14"
TINY_STEPS = 6  # of DDIM


def policy(base: str, device: str, *, tiny: bool) -> Policy:
    """Build the base `osediff` or `diffbir` without its text encoder; 512 px, or 64 if tiny."""
    sizes, vae_sizes = (diffusion.TINY_UNET, diffusion.TINY_VAE) if tiny else (diffusion.UNET, diffusion.VAE)
    with seeded(device):
        unet, vae = diffusion.UNet2DConditionModel(**sizes), diffusion.AutoencoderKL(**vae_sizes)
        parts = {"unet": unet, "texts": NoEncoder(sizes["cross_attention_dim"]), "size": 8 * sizes["sample_size"]}
        found = _diffbir(parts, vae, tiny=tiny) if base == "diffbir" else _osediff(parts, vae)
    return found.to(device)


def compact_policy(variant: compact.Variant, folder: Path, channels: tuple[int, ...] = compact.CHANNELS) -> Policy:
    """Write a compact base to `folder` and open it, on the CPU. No layer is zero, so all have an effect."""
    with seeded("cpu"):
        parts = compact.networks(variant, channels)
        if variant == "multi-step":
            parts["stage_1"] = compact.networks("one-step", channels)["unet"]
        for network in parts.values():
            fill_zeros(network.parameters())
        compact.save(parts, variant, folder)
        return compact.load(folder)


def reward_model(device: str, *, tiny: bool) -> FaceRewardModel:
    """Build HPSv2's ViT-H-14, or a tiny model of the same class of open_clip."""
    sizes = preferences.TINY if tiny else open_clip.get_model_config(ARCHITECTURE)
    with seeded(device):
        clip = rewardlab_clip.build(sizes)
    preprocess = Preprocess(size=clip.visual.image_size[0])
    return FaceRewardModel(clip, make_tokenizer(sizes), preprocess, sizes).to(device)


def write_tiny_checkpoint(folder: Path) -> tuple[Path, str]:
    """Write a tiny reward model in HPSv2's layout; return the file, and the architecture to open it with."""
    with seeded("cpu"):
        torch.save({"state_dict": rewardlab_clip.build(preferences.TINY).state_dict()}, folder / "hps.pt")
    (folder / "tiny.json").write_text(json.dumps(preferences.TINY))
    return folder / "hps.pt", str(folder / "tiny.json")


def lpips(device: str, trunk: str = "vgg") -> Lpips:
    """Build LPIPS with its own heads on a trunk of random weights."""
    with seeded("cpu"):
        return perceptual.untrained(trunk).to(device)


def refl_config(base: str, *, tiny: bool, **changes: Any) -> ReflConfig:
    return replace(configs.PRESETS[base], **({"steps": TINY_STEPS} if tiny and base == "diffbir" else {}), **changes)


@contextmanager
def seeded(device: str, seed: int = 0) -> Iterator[None]:
    """Make tensors on `device`, as a function of the seed."""
    with torch.random.fork_rng(devices=[] if device == "cpu" else None), torch.device(device):
        torch.manual_seed(seed)
        yield


def fill_zeros(parameters: Any) -> None:
    """Fill layers that begin at zero: they would hide everything after them."""
    for parameter in parameters:
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)


def pictures(count: int, size: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield RGB images (size, size, 3) with the spectrum of photographs, amplitude 1 / frequency."""
    random = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1
    for _ in range(count):
        channels = []
        shared = random.standard_normal((size, size))
        for _ in range(3):
            noise = shared + 0.3 * random.standard_normal((size, size))
            channel = np.fft.irfft2(np.fft.rfft2(noise) / frequency, (size, size))
            channels.append(128 + 50 * (channel - channel.mean()) / channel.std())
        yield np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)


class NoEncoder(nn.Module):
    """Encodes a prompt as zeros of the right shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, prompts: Sequence[str], latents: Tensor) -> Tensor:
        return latents.new_zeros(len(prompts), 77, self.width)


def _diffbir(parts: dict[str, Any], vae: nn.Module, *, tiny: bool) -> MultiStepPolicy:
    from spandrel.architectures.SwinIR import SwinIR

    config = refl_config("diffbir", tiny=tiny)
    controlnet = IRControlNet.from_unet(parts["unet"], load_weights_from_unet=False)
    fill_zeros(controlnet.parameters())
    with torch.device("cpu"):
        cleaner = SwinIR(
            window_size=8, mlp_ratio=2, upscale=8, upsampler="nearest+conv", start_unshuffle=8,
            **(diffusion.TINY_SWINIR if tiny else diffusion.SWINIR),
        )  # fmt: skip
        return DiffBIRPolicy(
            cleaner=cleaner,
            controlnet=controlnet,
            steps=config.steps,
            eta=config.eta,
            codec=KLCodec(vae, sample=False),
            schedule=sd_schedule(),
            **parts,
        )


def _osediff(parts: dict[str, Any], vae: Any) -> OneStepPolicy:
    modules, rank = diffusion.osediff_modules(parts["unet"], vae), {"r": 4, "lora_alpha": osediff.LORA_ALPHA}
    for adapter, entry in osediff.ADAPTERS.items():
        parts["unet"].add_adapter(diffusion.LoraConfig(target_modules=modules[entry], **rank), adapter)
    vae.add_adapter(diffusion.LoraConfig(target_modules=modules[osediff.VAE_MODULES], **rank), osediff.VAE_ADAPTER)
    parts["unet"].set_adapter(list(osediff.ADAPTERS))
    fill_zeros(value for name, value in parts["unet"].named_parameters() if "lora_" in name)
    with torch.device("cpu"):
        return OneStepPolicy(
            timestep=osediff.TIMESTEP,
            adapters=list(osediff.ADAPTERS),
            codec=KLCodec(vae, sample=True),
            schedule=sd_schedule(),
            **parts,
        )
