"""Training state in one safetensors file: trainable weights, Adam's moments and steps, and the training step."""

import json
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rewardlab.files import give_usual_mode

STATE = ("exp_avg", "exp_avg_sq", "step")

# Prefix of parameter names -> a trained module and its optimizer.
Parts = Mapping[str, tuple[nn.Module, torch.optim.Optimizer]]


class CheckpointError(ValueError):
    """The checkpoint cannot be read, or belongs to another model."""


def save(path: Path, parts: Parts, *, step: int) -> None:
    """Write the current state to the file at `path`, as `write`."""
    write(path, copied(parts), step=step)


def copied(parts: Parts) -> dict[str, Tensor]:
    """Return the current state as tensors on the CPU, which further training does not change."""
    tensors: dict[str, Tensor] = {}
    for name, parameter, optimizer in trainable(parts):
        tensors[f"weight/{name}"] = parameter.detach()
        state = optimizer.state.get(parameter, {})
        tensors |= {f"{part}/{name}": state[part] for part in STATE if part in state}
    return {name: tensor.to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}


def write(path: Path, tensors: dict[str, Tensor], *, step: int) -> None:
    """Write the file at `path` atomically. On failure an old file is kept and `OSError` is raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        save_file(tensors, partial, {"step": json.dumps(step)})
        give_usual_mode(partial)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        partial.unlink(missing_ok=True)


def remove_partial(folder: Path) -> None:
    """Remove files that a killed process did not finish."""
    for partial in folder.glob(".*.safetensors.*.tmp"):
        partial.unlink(missing_ok=True)


def saved_step(path: Path) -> int:
    """Return the saved step; 0 if there is no checkpoint. Raises `CheckpointError`."""
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            step: int = json.loads(file.metadata()["step"])
            return step
    except (SafetensorError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(
            f"{path} cannot be read: {error}. Delete it to resume from the state before it, or from the beginning."
        ) from error


def restore(path: Path, parts: Parts) -> int:
    """Fill modules and optimizers, and return the step. Raises `CheckpointError`."""
    step = saved_step(path)
    stored = load_file(path)
    expected = list(trainable(parts))
    if {name for name in stored if name.startswith("weight/")} != {f"weight/{name}" for name, _, _ in expected}:
        raise CheckpointError(
            f"{path} belongs to another model, or to one with other trainable layers. Delete it to resume from the "
            "state before it, or from the beginning."
        )
    with torch.no_grad():
        for name, parameter, optimizer in expected:
            parameter.copy_(stored[f"weight/{name}"])
            state = {part: stored[f"{part}/{name}"] for part in STATE if f"{part}/{name}" in stored}
            if state:
                # Adam counts its steps on the CPU.
                moved = {
                    part: value if part == "step" else torch.empty_like(parameter).copy_(value)  # in its memory format
                    for part, value in state.items()
                }
                optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moved}
    return step


def trainable(parts: Parts) -> Iterator[tuple[str, nn.Parameter, torch.optim.Optimizer]]:
    """Yield the name, the parameter and the optimizer of every trained weight."""
    for prefix, (module, optimizer) in parts.items():
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                yield prefix + name, parameter, optimizer
