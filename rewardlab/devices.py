"""The device that work runs on when none is named, and the precision that a device supports."""

import torch

BF16_CAPABILITY = (8, 0)  # older GPUs emulate bf16, slowly


def default_device() -> str:
    """Return `cuda` where torch can use a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def capability(device: torch.device | str) -> tuple[int, int] | None:
    """Return the compute capability of an NVIDIA GPU; None for other devices."""
    device = torch.device(device)
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else None


def computes_bf16(device: torch.device | str) -> bool:
    """Check that the hardware computes in bf16. `torch.cuda.is_bf16_supported` also accepts emulation."""
    found = capability(device)
    return found is not None and found >= BF16_CAPABILITY
