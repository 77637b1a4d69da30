"""The state of a training as one safetensors file: the weights that train, Adam's moments, and the step."""

import json
import os
import secrets
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")


class CheckpointError(ValueError):
    """The checkpoint cannot be read, or is of another model."""


def save(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, step: int) -> None:
    """Replace the file at `path` in one step; what was there stays if this fails (then an `OSError` is raised)."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in _trainable(model):
        tensors[f"weight/{name}"] = parameter.detach()
        state = optimizer.state.get(parameter, {})
        tensors |= {f"{moment}/{name}": state[moment] for moment in MOMENTS if moment in state}
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, {"step": json.dumps(step)})
        partial.chmod(0o644)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        partial.unlink(missing_ok=True)


def saved_step(path: Path) -> int:
    """0 if nothing was saved yet. Raises `CheckpointError`."""
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["step"])
    except (SafetensorError, KeyError, TypeError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}. Delete it to start the run anew.") from error


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Fill model and optimizer, and return the step. Raises `CheckpointError`."""
    step = saved_step(path)
    stored = load_file(path)
    wanted = {f"weight/{name}": parameter for name, parameter in _trainable(model)}
    if {name for name in stored if name.startswith("weight/")} != set(wanted):
        raise CheckpointError(f"{path} is of another backbone, or of one with other layers locked")
    with torch.no_grad():
        for name, parameter in _trainable(model):
            parameter.copy_(stored[f"weight/{name}"])
            moments = {
                moment: stored[f"{moment}/{name}"].to(parameter.device)
                for moment in MOMENTS
                if f"{moment}/{name}" in stored
            }
            if moments:
                optimizer.state[parameter] = {"step": torch.tensor(float(step)), **moments}
    return step


def _trainable(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
