"""Named blocks of a network: which of its parameters are trained."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

# Block -> prefixes of the names of its parameters.
Blocks = Mapping[str, Sequence[str]]


def parameters_of(network: nn.Module, blocks: Blocks, chosen: Sequence[str]) -> list[nn.Parameter]:
    """Return the parameters of the chosen blocks. Raises `ValueError` for a name that is not a block."""
    if unknown := [name for name in chosen if name not in blocks]:
        raise ValueError(f"--blocks {', '.join(unknown)}: this base has the blocks {', '.join(blocks)}")
    prefixes = tuple(f"{prefix}." for name in chosen for prefix in blocks[name])
    return [value for name, value in network.named_parameters() if name.startswith(prefixes)]


def recompute(modules: Iterable[nn.Module]) -> None:
    """Make modules recompute their activations in the backward pass instead of storing them."""
    for module in modules:
        module.forward = _recomputed(module.forward)


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def call(*inputs: Any, **named: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*inputs, **named)
        return checkpoint(forward, *inputs, use_reentrant=False, **named)

    return call
