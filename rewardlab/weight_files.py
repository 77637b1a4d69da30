"""Checkpoints of plain tensors into networks: everything that is missing or foreign is named."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardlab.errors import ModelError


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint, bare or under `state_dict`, by name without DataParallel's `module.`.

    Raises `ValueError` naming the file if it holds anything but tensors; nothing else in it is ever run.
    """
    try:
        stored: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        # torch's own advice, to load it without weights_only, would run whatever is inside.
        raise ValueError(f"{path} is not a checkpoint of plain tensors, or is truncated: download it again") from error
    state = stored.get("state_dict", stored) if isinstance(stored, dict) else None
    if not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path} holds no state_dict of tensors: it is another kind of checkpoint")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def fill(network: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Load all of `tensors` into all of `network`; batch normalisation's counters may be missing (torch 0.4.0).

    Raises `ValueError` naming the file and the missing, foreign and misshapen tensors.
    """
    wanted = network.state_dict()
    misshapen = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(wanted[name].shape)}"
        for name, tensor in tensors.items()
        if name in wanted and wanted[name].shape != tensor.shape
    ]
    missing = [name for name in wanted if name not in tensors and not name.endswith("num_batches_tracked")]
    foreign = [name for name in tensors if name not in wanted]
    faults = [_some("missing", missing), _some("foreign", foreign), _some("of another shape", misshapen)]
    if any(faults):
        raise ValueError(f"{source} does not fit {type(network).__name__}: {'; '.join(filter(None, faults))}")
    network.load_state_dict(tensors, strict=False)


def _some(fault: str, names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{fault}: {', '.join(names[:3])}{more}" if names else ""


def fill_in_order(trunk: nn.Module, path: Path) -> None:
    """The asset names its layers otherwise than timm but lists them in the same order, the classifier last."""
    stored = list(torch.load(path, map_location="cpu", weights_only=True).values())
    wanted = trunk.state_dict()
    pairs = list(zip(wanted.items(), stored, strict=False))
    if len(stored) < len(wanted) or any(mine.shape != theirs.shape for (_, mine), theirs in pairs):
        raise ModelError(f"{path} does not hold EfficientNet-Lite0's layers in order")
    trunk.load_state_dict({name: theirs for (name, _), theirs in pairs})
