"""Open a network of this package from a weights file."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from refl.errors import WeightsError
from refl.weights import read_state
from rewardlab.weight_files import misfits

Network = TypeVar("Network", bound=nn.Module)
Draw = Callable[[Tensor], Tensor]  # returns Gaussian noise of the shape, type and device of its argument
Convert = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def open_network(build: Callable[[], Network], path: Path, convert: Convert | None = None) -> Network:
    """Build a network and load a file, in float32, for evaluation, without gradients.

    path: a bare or nested state dict of any floating-point type (see `read_state`). convert: renames or combines the
    file's tensors to those of the network. Raises FileNotFoundError or `WeightsError` unless all tensors match.
    """
    state = tensors_of(read_state(path), path)
    with torch.random.fork_rng(devices=[]):  # networks are randomly initialised before their weights are loaded
        network = build()
    if convert is not None:
        try:
            state = convert(state)
        except KeyError as error:
            raise WeightsError(
                f"{path} does not fit {type(network).__name__}: missing: {error.args[0]}. Check that it is the right "
                "file."
            ) from error
        except RuntimeError as error:
            raise WeightsError(
                f"{path} does not fit {type(network).__name__}: {error}. Check that it is the right file."
            ) from error
    if faults := misfits(network.state_dict(), state):
        raise WeightsError(f"{path} does not fit {type(network).__name__}: {faults}. Check that it is the right file.")
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def tensors_of(state: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """Return `state` if it contains tensors only. Raises `WeightsError` naming the first other entry."""
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise WeightsError(
                f"{path} is not a state dict: its entry {name} is a {type(value).__name__}, not a tensor. Check that "
                "it is the right file."
            )
    return dict(state)
