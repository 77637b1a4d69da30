"""Loading of tensor checkpoints into networks; errors name missing and unexpected tensors."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rewardlab.errors import ModelError

NAMED_AT_MOST = 5  # tensors per fault


def load_checkpoint(path: Path) -> Any:
    """Return the content of a .safetensors file or a PyTorch checkpoint on the CPU. Code in it is never executed.

    Raises `FileNotFoundError`, or `ModelError` naming the file if it is damaged, contains anything but tensors, or has
    values that are not finite.
    """
    if path.is_dir():
        raise ModelError(f"{path} is a folder, not a weights file: pass a file in it")
    if not path.is_file():
        raise FileNotFoundError(f"the weights file {path} does not exist")
    if path.stat().st_size == 0:
        raise ModelError(f"{path} is empty, so the file is damaged: download it again")
    try:
        if path.suffix == ".safetensors":
            stored: Any = load_file(path)
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged or truncated ({error}): copy or download it again") from error
    except Exception as error:  # the reader raises errors of any class on arbitrary bytes
        # torch's own advice, to load it without weights_only, would execute code in the file.
        reason = str(error).partition("\n")[0]
        raise ModelError(
            f"{path} is not a checkpoint of plain tensors: it is damaged, or contains more than tensors. Such a file "
            f"could run code, so it is not opened. Download it again, or convert its state dict to .safetensors on a "
            f"machine where you trust the file. ({type(error).__name__}: {reason})"
        ) from error
    require_finite(stored, path)
    return stored


def require_finite(stored: Any, path: Path) -> None:
    """Raise `ModelError`, naming the file and the tensor, if a tensor in (nested) dictionaries has a NaN or infinity.

    Masks of attention may contain infinities.
    """
    for name, value in stored.items() if isinstance(stored, Mapping) else ():
        if isinstance(value, Tensor):
            if value.is_floating_point() and not value.isfinite().all() and not str(name).endswith("mask"):
                raise ModelError(f"{path} has values that are not finite (in {name}): use another file")
        else:
            require_finite(value, path)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file or a checkpoint, bare or under `state_dict`, without `module.`.

    Raises `FileNotFoundError`, or `ModelError` naming the file if it contains anything but tensors.
    """
    stored = load_checkpoint(path)
    state = stored.get("state_dict", stored) if isinstance(stored, dict) else None
    if not state or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise ModelError(f"{path} has no state_dict of tensors: it is not a checkpoint in the expected layout")
    return {name.removeprefix("module."): tensor for name, tensor in state.items()}


def fill(network: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    """Load `tensors` into `network`, which must match; batch normalisation's counters may be missing (torch 0.4.0).

    Raises `ModelError` naming the file and the tensors that are missing, unexpected or of the wrong shape.
    """
    state = network.state_dict()
    wanted = {name: state[name] for name in state if name in tensors or not name.endswith("num_batches_tracked")}
    if faults := misfits(wanted, tensors):
        raise ModelError(f"{source} does not fit {type(network).__name__}: {faults}")
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
    stored = list(read_tensors(path).values())
    wanted = trunk.state_dict()
    pairs = list(zip(wanted.items(), stored, strict=False))
    if len(stored) < len(wanted) or any(mine.shape != theirs.shape for (_, mine), theirs in pairs):
        raise ModelError(f"{path} does not contain EfficientNet-Lite0's layers in order: download it again")
    trunk.load_state_dict({name: theirs for (name, _), theirs in pairs})
