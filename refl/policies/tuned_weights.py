"""Tuned weights of a run in common formats.

A LoRA is stored as peft's safetensors, a ControlNet as a diffusers folder, and the trained part of another network as a
safetensors file with the network's own names.
"""

import logging
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from rewardlab import cards
from rewardlab.torchvision_stub import ensure_torchvision
from rewardlab.weight_files import load_checkpoint, misfits

ensure_torchvision()

from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict  # noqa: E402

from refl.errors import WeightsError  # noqa: E402
from refl.policies.controlnet import IRControlNet  # noqa: E402
from refl.policies.diffusion import MultiStepPolicy, OneStepPolicy  # noqa: E402
from refl.policies.policy import Policy  # noqa: E402

TRAINED_FILE = "trained.safetensors"
LORA_FILE = "pytorch_lora_weights.safetensors"


def save(policy: Policy, folder: Path, *, card: str = "") -> None:
    """Write the tuned weights and their model card to `folder` atomically, replacing it if it exists."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(6)}")
    partial.mkdir()
    try:
        if isinstance(policy, OneStepPolicy):
            with _without_dtype_warning():
                for adapter in policy.adapters:
                    policy.unet.save_lora_adapter(partial / adapter, adapter_name=adapter, weight_name=LORA_FILE)
        elif isinstance(policy, MultiStepPolicy):
            policy.controlnet.save_pretrained(partial / "controlnet")
        else:
            tensors = {name: value.detach().contiguous() for name, value in policy.trainable().items()}
            save_file(tensors, partial / TRAINED_FILE)
        if card:
            (partial / cards.FILE).write_text(card, encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        partial.replace(folder)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _without_dtype_warning() -> Iterator[None]:
    """Silence a warning of diffusers about its empty list of float32 layers."""
    logger = logging.getLogger("diffusers.models.modeling_utils")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def load(policy: Policy, folder: Path) -> None:
    """Load a base's trainable weights from `folder`. Raises `WeightsError` naming tensors that do not fit."""
    try:
        if isinstance(policy, OneStepPolicy):
            for adapter in policy.adapters:
                _load_lora(policy, adapter, folder / adapter / LORA_FILE)
        elif isinstance(policy, MultiStepPolicy):
            stored = IRControlNet.from_pretrained(folder / "controlnet", local_files_only=True)
            policy.controlnet.load_state_dict(stored.state_dict())
        else:
            _load_trained(policy, folder / TRAINED_FILE)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{folder} does not contain weights of this base: {error}") from error


def _load_trained(policy: Policy, file: Path) -> None:
    stored, trained = load_checkpoint(file), policy.trainable()
    if faults := misfits(trained, stored):
        raise WeightsError(f"{file} does not fit the trained part of its base: {faults}")
    with torch.no_grad():
        for name, value in trained.items():
            value.copy_(stored[name])


def _load_lora(policy: OneStepPolicy, adapter: str, file: Path) -> None:
    stored = {key.removeprefix("unet."): value for key, value in load_checkpoint(file).items()}
    wanted = get_peft_model_state_dict(policy.unet, adapter_name=adapter)
    if stored.keys() != wanted.keys():
        unmatched = sorted(stored.keys() ^ wanted.keys())[:5]
        raise WeightsError(f"{file} is a LoRA for another network: {', '.join(unmatched)}")
    set_peft_model_state_dict(policy.unet, stored, adapter_name=adapter)


@torch.no_grad()
def fuse(policy: Policy) -> None:
    """Merge the LoRA into the UNet's weights, so that it is as fast as the base. It cannot be tuned afterwards."""
    if isinstance(policy, OneStepPolicy):
        policy.unet.fuse_lora(adapter_names=list(policy.adapters))
        policy.unet.unload_lora()
        policy.base = {}
