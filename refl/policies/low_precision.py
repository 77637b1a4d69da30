"""Networks in low precision: frozen weights are stored in it once, instead of being cast at every call.

Under autocast each call of a frozen network casts its weights, and every normalisation casts its input to float32 and
back. A chain of 50 steps then launches more casts than it has layers.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

# The layers whose weights autocast casts; it computes normalisations in float32.
CAST_BY_AUTOCAST = (nn.Linear, nn.Conv2d)


def store(network: nn.Module, dtype: torch.dtype, *, but: Iterable[nn.Module] = ()) -> None:
    """Convert the frozen weights and buffers in place. Trained ones stay in float32.

    but: modules that stay in float32 and compute in it, whatever autocast says, on inputs that are cast to it.
    """
    kept = {id(part) for module in but for part in module.modules()}
    for module in network.modules():
        if id(module) in kept:
            continue
        for name, value in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            if not value.is_floating_point() or value.requires_grad:
                continue
            if isinstance(value, nn.Parameter):
                value.data = value.data.to(dtype)
            else:
                setattr(module, name, value.to(dtype))
        if hasattr(module, "cast_input_dtype_enabled"):
            # peft would cast each input to the LoRA's float32 first.
            module.cast_input_dtype_enabled = False  # type: ignore[assignment]
    for module in but:
        module.forward = _in_float32(module.forward)


def _in_float32(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def call(inputs: Tensor, *others: Any, **named: Any) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return forward(inputs.float(), *others, **named)

    return call


def cast_all(weights: Mapping[str, Tensor], dtype: torch.dtype, *, but: tuple[str, ...]) -> dict[str, Tensor]:
    """Return detached copies in low precision. but: prefixes of names that stay in float32."""
    return {
        name: value.detach() if name.startswith(but) else value.detach().to(dtype) for name, value in weights.items()
    }


def cast_as_autocast(
    network: nn.Module, weights: Mapping[str, Tensor], dtype: torch.dtype, *, but: tuple[str, ...]
) -> dict[str, Tensor]:
    """Cast the weights that autocast would cast, in the memory format of the network's own.

    Called with them, the network computes exactly as under autocast with equal weights.
    """
    modules, own = dict(network.named_modules()), dict(network.named_parameters())
    cast = {name for name in weights if isinstance(modules[name.rpartition(".")[0]], CAST_BY_AUTOCAST)}
    return {
        name: torch.empty_like(
            own[name],
            dtype=dtype if name in cast and not name.startswith(but) else value.dtype,
            requires_grad=False,
        ).copy_(value)
        for name, value in weights.items()
    }
