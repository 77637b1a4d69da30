"""MUSIQ and CLIP-IQA as pyiqa implements them, with weights from the assets. Nothing is downloaded.

pyiqa's licence is PolyForm-Noncommercial: these two metrics are for non-commercial use.
"""

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardlab import assets
from rewardlab.compat import ensure_torchvision
from rewardlab.metrics.registry import Measure


def build_musiq(device: str) -> Measure:
    """MUSIQ (Ke et al. 2021) trained on KonIQ-10k. Raises `ValueError` for a file of another layout."""
    ensure_torchvision()
    from pyiqa.archs.musiq_arch import MUSIQ

    network = MUSIQ(pretrained=False)
    _load_state(network, assets.find("musiq"))
    return _measure(network, device)


def build_clipiqa(device: str) -> Measure:
    """CLIP-IQA (Wang et al. 2023) on CLIP's RN50. Raises `ValueError` for a file that is not CLIP."""
    ensure_torchvision()
    from pyiqa.archs.clipiqa_arch import CLIPIQA

    path = assets.find("clip-rn50")
    try:
        # Given a file, pyiqa reads it as the TorchScript archive that OpenAI published; no download.
        network = CLIPIQA(model_type="clipiqa", backbone=str(path))
    except (RuntimeError, KeyError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is not the TorchScript archive of OpenAI's CLIP: {error!r}") from error
    return _measure(network, device)


def _measure(network: nn.Module, device: str) -> Measure:
    network.eval().requires_grad_(False).to(device)

    def measure(images: Tensor, reference: Tensor | None = None) -> Tensor:
        return network(images).flatten()

    return measure


def _load_state(network: nn.Module, path: Path) -> None:
    # pyiqa's own loader would unpickle anything.
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict({key.removeprefix("module."): value for key, value in state.items()})
    except (RuntimeError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} does not fit {type(network).__name__}: {error!r}") from error
