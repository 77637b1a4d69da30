"""Stable Diffusion 2.1-base, which OSEDiff and DiffBIR build on, from a folder in diffusers format.

Only local files are read; nothing is downloaded.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from refl.errors import WeightsError
from refl.policies.diffusion import sd_schedule
from refl.policies.prompts import TextEncoder
from rewardlab.assets import ASSETS, MissingAsset
from rewardlab.torchvision_stub import ensure_torchvision
from rewardlab.weight_files import misfits_of

ensure_torchvision()

from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: E402
from transformers import CLIPTextModel, CLIPTokenizer  # noqa: E402

ASSET = "sd-2.1-base"
NETWORK = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
# Required files by subfolder. One of the names in a tuple is enough.
FILES = {
    "unet": (("config.json",), NETWORK),
    "vae": (("config.json",), NETWORK),
    "text_encoder": (("config.json",), ("model.safetensors", "pytorch_model.bin")),
    "tokenizer": (("vocab.json",), ("merges.txt",), ("tokenizer_config.json",)),
    "scheduler": (("scheduler_config.json",),),
}
SCHEDULE = ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "trained_betas")


@dataclass(frozen=True)
class StableDiffusion:
    """The networks in float32 and evaluation mode. size: the image side in pixels that the UNet was trained at."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    texts: TextEncoder
    size: int


def open_stable_diffusion(folder: Path) -> StableDiffusion:
    """Open SD-2.1-base (asset "sd-2.1-base").

    folder: contains unet/, vae/, text_encoder/, tokenizer/ and scheduler/, each with its configuration.
    Raises `MissingAsset` for a missing file, and `WeightsError` for a file that does not fit or for another version of
    Stable Diffusion, which predicts v or has another noise schedule.
    """
    _check_files(folder)
    _check_schedule(folder / "scheduler" / "scheduler_config.json")
    unet = _load(UNet2DConditionModel, folder / "unet", torch_dtype=torch.float32)
    vae = _load(AutoencoderKL, folder / "vae", torch_dtype=torch.float32)
    encoder = _load(CLIPTextModel, folder / "text_encoder", dtype=torch.float32, ignore_mismatched_sizes=True)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    return StableDiffusion(unet, vae, TextEncoder(tokenizer, encoder), size=unet.config["sample_size"] * factor)


def used_files(folder: Path) -> list[Path]:
    """Return the files that `open_stable_diffusion` reads; a mirror may have others beside them."""
    named = [[folder / part / name for name in names] for part, files in FILES.items() for names in files]
    existing = [next((file for file in files if file.is_file()), None) for files in named]
    return [file for file in existing if file]


def require(path: Path, asset: str) -> Path:
    """Return `path` if it exists. Raises `MissingAsset` naming the source of `asset`."""
    if not path.exists():
        known = ASSETS[asset]
        raise MissingAsset(
            f"{asset}: {path} does not exist. Get {known.file} from {known.source} (`manage.py weights fetch {asset}`) "
            "and put it there."
        )
    return path


def require_fit(file: Path, faults: str) -> None:
    """Raise `WeightsError` naming `file` if there are faults, as listed by `weight_files.misfits`."""
    if faults:
        raise WeightsError(f"{file} does not fit its network. Tensors {faults}. Check that it is the right file.")


def _check_files(folder: Path) -> None:
    for part, files in FILES.items():
        require(folder / part, ASSET)
        for names in files:
            if not any((folder / part / name).is_file() for name in names):
                raise MissingAsset(
                    f"{ASSET}: {folder / part} has no {' or '.join(names)}. Get {ASSETS[ASSET].file} from "
                    f"{ASSETS[ASSET].source} and put that file there."
                )


def _check_schedule(file: Path) -> None:
    stored = _json(file)
    prediction = stored.get("prediction_type", "epsilon")
    if prediction != "epsilon":
        raise WeightsError(
            f"{file} has prediction_type {prediction}, so it is not SD-2.1-base, which predicts the noise. (SD-2.1 for "
            f"768 px predicts v.) OSEDiff and DiffBIR would give NaN. Get {ASSETS[ASSET].file} from "
            f"{ASSETS[ASSET].source}."
        )
    expected = sd_schedule().config
    other = [name for name in SCHEDULE if name in stored and stored[name] != expected[name]]
    if other:
        raise WeightsError(
            f"{file} differs from the noise schedule of SD-2.1-base: "
            + ", ".join(f"{name} {stored[name]} instead of {expected[name]}" for name in other)
            + f". Get {ASSETS[ASSET].file} from {ASSETS[ASSET].source}."
        )


def _json(file: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{file} cannot be read: {error}. Get it again from {ASSETS[ASSET].source}.") from error


def _load(network: Any, folder: Path, **options: Any) -> Any:
    # Both libraries warn if use_safetensors is set and only the other format exists.
    has_safetensors = (folder / FILES[folder.name][1][0]).is_file()
    try:
        loaded, report = network.from_pretrained(
            folder, local_files_only=True, use_safetensors=has_safetensors, output_loading_info=True, **options
        )
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise WeightsError(
            f"{folder} cannot be read as {network.__name__}: {str(error).splitlines()[0]} "
            f"Get it again from {ASSETS[ASSET].source}."
        ) from error
    faults = misfits_of(
        missing=report["missing_keys"], foreign=report["unexpected_keys"], misshapen=report["mismatched_keys"]
    )
    require_fit(folder, faults)
    return loaded.eval()
