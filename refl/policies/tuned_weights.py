"""What a run tuned, in the ecosystem's formats: LoRA as peft's safetensors, a ControlNet as a diffusers folder."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from rewardlab import cards
from rewardlab.torchvision_stub import ensure_torchvision

ensure_torchvision()

from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict  # noqa: E402

from refl.errors import WeightsError  # noqa: E402
from refl.policies.controlnet import IRControlNet  # noqa: E402
from refl.policies.diffusion import (  # noqa: E402
    MultiStepPolicy,
    OneStepPolicy,
    Policy,
)

LORA_FILE = "pytorch_lora_weights.safetensors"


def save(policy: Policy, folder: Path, *, card: str = "") -> None:
    """Write the tuned weights and their model card to `folder`, whole or not at all; one that is there is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        partial.chmod(0o755)
        if isinstance(policy, OneStepPolicy):
            with _without_dtype_warning():
                for adapter in policy.adapters:
                    policy.unet.save_lora_adapter(partial / adapter, adapter_name=adapter, weight_name=LORA_FILE)
        elif isinstance(policy, MultiStepPolicy):
            policy.controlnet.save_pretrained(partial / "controlnet")
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
    """diffusers casts to float32, and warns that an empty list of its layers is not."""
    logger = logging.getLogger("diffusers.models.modeling_utils")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def load(policy: Policy, folder: Path) -> None:
    """Fill a base's trainable weights with those of `folder`. Raises `WeightsError` by name."""
    try:
        if isinstance(policy, OneStepPolicy):
            for adapter in policy.adapters:
                _fill_lora(policy, adapter, folder / adapter / LORA_FILE)
        elif isinstance(policy, MultiStepPolicy):
            stored = IRControlNet.from_pretrained(folder / "controlnet")
            policy.controlnet.load_state_dict(stored.state_dict())
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{folder} does not hold the weights of this base: {error}") from error


def _fill_lora(policy: OneStepPolicy, adapter: str, file: Path) -> None:
    stored = {key.removeprefix("unet."): value for key, value in load_file(file).items()}
    wanted = get_peft_model_state_dict(policy.unet, adapter_name=adapter)
    if stored.keys() != wanted.keys():
        odd = sorted(stored.keys() ^ wanted.keys())[:5]
        raise WeightsError(f"{file} is the LoRA of another network: {', '.join(odd)}")
    set_peft_model_state_dict(policy.unet, stored, adapter_name=adapter)


@torch.no_grad()
def fuse(policy: Policy) -> None:
    """Fold the LoRA into the UNet's weights: the base's own speed. Nothing can be tuned afterwards."""
    if isinstance(policy, OneStepPolicy):
        policy.unet.fuse_lora(adapter_names=list(policy.adapters))
        policy.unet.unload_lora()
        policy.base = {}
