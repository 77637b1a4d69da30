"""Loading of tensor checkpoints into networks; errors name missing and unexpected tensors."""

import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rewardlab.errors import ModelError

NAMED_AT_MOST = 5  # tensors per fault


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file or a checkpoint, bare or under `state_dict`, without `module.`.

    Raises `FileNotFoundError`, or `ValueError` naming the file if it contains anything but tensors. Code in the file
    is never executed.
    """
    try:
        stored: Any = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError, SafetensorError) as error:
        # torch's own advice, to load it without weights_only, would execute code in the file.
        raise ValueError(f"{path} is not a checkpoint of plain tensors, or is truncated: download it again") from error
    state = stored.get("state_dict", stored) if isinstance(stored, dict) else None
    if not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ValueError(f"{path} has no state_dict of tensors: it is not a checkpoint in the expected layout")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def fill(network: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Load `tensors` into `network`, which must match; batch normalisation's counters may be missing (torch 0.4.0).

    Raises `ValueError` naming the file and the tensors that are missing, unexpected or of the wrong shape.
    """
    state = network.state_dict()
    wanted = {name: state[name] for name in state if name in tensors or not name.endswith("num_batches_tracked")}
    if faults := misfits(wanted, tensors):
        raise ValueError(f"{source} does not fit {type(network).__name__}: {faults}")
    network.load_state_dict(tensors, strict=False)


def misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """List the first tensors of `found` that do not match `wanted`, by name and shape; empty if all match."""
    return misfits_of(
        missing=[name for name in wanted if name not in found],
        foreign=[name for name in found if name not in wanted],
        misshapen=[
            (name, found[name].shape, tensor.shape)
            for name, tensor in wanted.items()
            if name in found and found[name].shape != tensor.shape
        ],
    )


def misfits_of(
    *,
    missing: Iterable[str] = (),
    foreign: Iterable[str] = (),
    misshapen: Iterable[tuple[str, Iterable[int], Iterable[int]]] = (),
) -> str:
    """List the first tensors of each fault. misshapen: name, shape found, shape wanted."""
    shapes = [f"{name} {tuple(found)} instead of {tuple(wanted)}" for name, found, wanted in misshapen]
    faults = {"missing": sorted(missing), "unexpected": sorted(foreign), "wrong shape": sorted(shapes)}
    return "; ".join(f"{fault}: {_first(names)}" for fault, names in faults.items() if names)


def _first(names: Sequence[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def fill_in_order(trunk: nn.Module, path: Path) -> None:
    """Load EfficientNet-Lite0 by position: the file and timm name its layers differently but in the same order.

    The classifier comes last in the file and is ignored. Raises `ModelError`.
    """
    stored = list(torch.load(path, map_location="cpu", weights_only=True).values())
    wanted = trunk.state_dict()
    pairs = list(zip(wanted.items(), stored, strict=False))
    if len(stored) < len(wanted) or any(mine.shape != theirs.shape for (_, mine), theirs in pairs):
        raise ModelError(f"{path} does not contain EfficientNet-Lite0's layers in order: download it again")
    trunk.load_state_dict({name: theirs for (name, _), theirs in pairs})
