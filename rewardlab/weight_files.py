"""Checkpoints of plain tensors into networks: everything that is missing or foreign is named."""

import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardlab.errors import ModelError

NAMED_AT_MOST = 5  # of each fault


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
    state = network.state_dict()
    wanted = {name: state[name] for name in state if name in tensors or not name.endswith("num_batches_tracked")}
    if faults := misfits(wanted, tensors):
        raise ValueError(f"{source} does not fit {type(network).__name__}: {faults}")
    network.load_state_dict(tensors, strict=False)


def misfits(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """Name the first tensors that keep `found` from filling `wanted`, by name and shape; empty if all fit."""
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
    """List the first of each fault. misshapen: a name with the shape that was found and the one that is wanted."""
    shapes = [f"{name} {tuple(found)} instead of {tuple(wanted)}" for name, found, wanted in misshapen]
    faults = {"missing": sorted(missing), "foreign": sorted(foreign), "of another shape": sorted(shapes)}
    return "; ".join(f"{fault}: {_first(names)}" for fault, names in faults.items() if names)


def _first(names: Sequence[str]) -> str:
    more = len(names) - NAMED_AT_MOST
    return ", ".join(names[:NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def fill_in_order(trunk: nn.Module, path: Path) -> None:
    """The asset names its layers otherwise than timm but lists them in the same order, the classifier last."""
    stored = list(torch.load(path, map_location="cpu", weights_only=True).values())
    wanted = trunk.state_dict()
    pairs = list(zip(wanted.items(), stored, strict=False))
    if len(stored) < len(wanted) or any(mine.shape != theirs.shape for (_, mine), theirs in pairs):
        raise ModelError(f"{path} does not hold EfficientNet-Lite0's layers in order")
    trunk.load_state_dict({name: theirs for (name, _), theirs in pairs})
