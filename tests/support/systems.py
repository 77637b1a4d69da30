"""Networks of the published restorers in the layouts of their files, with seeded random numbers; tiny by default."""

from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from refl.networks.adm_unet import ADMUNet, UNetConfig
from refl.networks.difface import open_difface
from refl.networks.sparnet import SPARNet, SPARNetConfig
from refl.networks.vqfr_1 import VQFR1, VQFR1Config, open_vqfr_1
from refl.networks.vqfr_2 import VQFR2, VQFR2Config, open_vqfr_2
from refl.policies import dr2
from refl.policies.feed_forward import GFPGAN
from refl.restoreformer_plus_plus import RestoreFormer, RestoreFormerPlusPlus
from refl.restorers import network_restorer, spandrel_restorer
from rewardlab.assets import ASSETS
from tests.support import diffusion

SIZE = 64  # of all networks but DR2's, which has half
UNET = UNetConfig(
    channels=32, multipliers=(1, 2), blocks=(1, 2), attention_levels=(1,), residual_resampling=True, head_channels=32
)
PLAIN_UNET = replace(UNET, residual_resampling=False)
SPARNET = SPARNetConfig(size=SIZE, smallest=16, fewest_channels=8, most_channels=16, depth=1)
VQFR_1 = VQFR1Config(
    channels=32, multipliers=(1, 1, 2), encoder_blocks=1, decoder_blocks=1, codes=(16, 8), given=4, size=SIZE
)
VQFR_2 = VQFR2Config(channels=32, multipliers=(1, 1, 2), blocks=1, codes=(16, 8), given=4, size=SIZE)
# Its package has a non-commercial licence, so it is not among those for development.
HAS_CODEFORMER = find_spec("spandrel_extra_arches") is not None
SIX_LEVELS = (1,) * 6


def gfpgan() -> nn.Module:
    return GFPGAN(out_size=SIZE, num_style_feat=16, channel_multiplier=1, narrow=1 / 16)


# By asset: a function that builds the network, and a change of its state dict to the file's content.
Networks = dict[str, tuple[Callable[[], nn.Module], Callable[[dict[str, Tensor]], dict[str, Any]]]]
NETWORKS: Networks = {
    "gfpgan-1.3": (gfpgan, lambda state: {"params_ema": state}),
    "gfpgan-1.4": (gfpgan, lambda state: {"params_ema": state}),
    "vqfr-1": (lambda: VQFR1(VQFR_1), lambda state: {"params": _with_shortcuts(state)}),
    "vqfr-2": (lambda: VQFR2(VQFR_2), lambda state: {"params_ema": state}),
    "dr2": (lambda: ADMUNet(UNET), lambda state: {f"module.{name}": value for name, value in state.items()}),
    "sparnethd-dr2": (lambda: SPARNet(SPARNET), lambda state: _with_spectral_norm(state)),
    "difface": (lambda: ADMUNet(PLAIN_UNET), lambda state: {name: value.half() for name, value in state.items()}),
    "restoreformer": (
        lambda: RestoreFormer(n_embed=16, embed_dim=8, ch=32, out_ch=3, ch_mult=SIX_LEVELS, num_res_blocks=1,
                              z_channels=8),
        lambda state: _published(state),
    ),
    "restoreformer-plusplus": (
        lambda: RestoreFormerPlusPlus(channels=32, multipliers=SIX_LEVELS, blocks=1, codes=(16, 8), latent=8),
        lambda state: _published(state),
    ),
}  # fmt: skip


def write(
    folder: Path,
    networks: Networks = NETWORKS,
    sd_sizes: diffusion.Sizes = diffusion.TINY,
    swinir_sizes: dict[str, Any] = diffusion.TINY_SWINIR,
) -> Path:
    """Write all files under their published names, except CodeFormer's, whose architecture is optional."""
    for asset, (build, change) in networks.items():
        torch.save(change(randomised(build()).state_dict()), folder / ASSETS[asset].file)
    sd = diffusion.stable_diffusion(folder / ASSETS["sd-2.1-base"].file, sizes=sd_sizes)
    diffusion.osediff(folder / ASSETS["osediff-face"].file, sd)
    diffusion.controlnet(folder / ASSETS["diffbir-face"].file, sd)
    for asset in ("difface-swinir", "diffbir-swinir-face"):
        diffusion.swinir(folder / ASSETS[asset].file, **swinir_sizes)
    return folder


def write_codeformer(folder: Path, **sizes: int) -> None:
    """Write CodeFormer's file, which always takes 512 px. Needs `HAS_CODEFORMER`."""
    from spandrel_extra_arches.architectures.CodeFormer import CodeFormer

    network = randomised(CodeFormer(**(sizes or {"dim_embd": 32, "n_layers": 1, "codebook_size": 16})))
    torch.save({"params_ema": network.state_dict()}, folder / ASSETS["codeformer"].file)


def shrink(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make all restorers open the tiny files; most files do not say the structure of their network."""
    openers = {
        "vqfr-1": lambda file: open_vqfr_1(file, VQFR_1),
        "vqfr-2": lambda file, **options: open_vqfr_2(file, config=VQFR_2, **options),
        "difface": lambda *paths, **options: open_difface(*paths, **options, config=PLAIN_UNET, size=SIZE),
    }
    monkeypatch.setattr(network_restorer, "OPENERS", openers)
    monkeypatch.setattr(spandrel_restorer, "FACE_SIZE", SIZE)
    monkeypatch.setattr(dr2, "STRUCTURE", dr2.Structure(UNET, SPARNET, SIZE // 2))
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(folder))


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    """Fill a network with small random numbers."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.normal_(std=0.7 / value[0].numel() ** 0.5 if value.ndim > 1 else 0.1, generator=generator)
            if name.endswith("weight") and value.ndim == 1:
                value.add_(1)
    return network.eval()


def _with_shortcuts(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace(".residual_func.", ".shortcut_conv."): value for name, value in state.items()}


def _published(state: dict[str, Tensor]) -> dict[str, Any]:
    return {"state_dict": {f"vqvae.{name}": value for name, value in state.items()} | {"loss.logvar": torch.ones(1)}}


def _with_spectral_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    stored = {}
    for name, value in state.items():
        if value.ndim == 4:
            left, _values, right = torch.linalg.svd(value.flatten(1), full_matrices=False)
            stored |= {f"{name}_orig": 3 * value, f"{name}_u": left[:, 0] * 1.0, f"{name}_v": right[0]}
        else:
            stored[name] = value
    return stored
