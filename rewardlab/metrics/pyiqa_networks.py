"""pyiqa's MUSIQ, MANIQA, CLIP-IQA and NIQE, with weights from the assets. Nothing is downloaded.

pyiqa's licence is PolyForm-Noncommercial: these metrics are for non-commercial use.
"""

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from rewardlab import assets
from rewardlab.errors import ModelError
from rewardlab.metrics import niqe
from rewardlab.metrics.registry import Measure, UndefinedMetric
from rewardlab.torchvision_stub import ensure_torchvision
from rewardlab.weight_files import fill, read_tensors, require_finite


def build_musiq(device: str) -> Measure:
    """Build MUSIQ (Ke et al. 2021), trained on KonIQ-10k. Raises `ValueError` for a file of another layout."""
    ensure_torchvision()
    from pyiqa.archs.musiq_arch import MUSIQ

    path = assets.find("musiq")
    network = MUSIQ(pretrained=False)
    fill(network, read_tensors(path), path)
    return _measure(network, device)


def build_maniqa(device: str) -> Measure:
    """Build MANIQA (Yang et al. 2022), trained on KonIQ-10k, about 0 to 1: the mean over 20 crops of 224 x 224.

    Smaller images are upscaled. Raises `ValueError` for a file of another layout.
    """
    return _measure(load_maniqa(), device)


def load_maniqa() -> nn.Module:
    """Load MANIQA on the CPU. Raises `MissingAsset`, or `ValueError` if a layer of MANIQA or its ViT is missing."""
    path = assets.find("maniqa")
    network = maniqa_without_weights()
    fill(network, read_tensors(path), path)
    return network


def maniqa_without_weights() -> nn.Module:
    """Build MANIQA with an uninitialised ViT.

    pyiqa would download a ViT through timm and overwrite it with the weights in MANIQA's own file.
    """
    ensure_torchvision()
    import timm
    from pyiqa.archs import maniqa_arch

    def empty_vit(name: str, pretrained: bool) -> nn.Module:
        with torch.device("meta"):
            return timm.create_model(name).to_empty(device="cpu")

    offline = SimpleNamespace(create_model=empty_vit)
    with torch.random.fork_rng(devices=[]), patched(maniqa_arch, "timm", offline):
        network: nn.Module = maniqa_arch.MANIQA(pretrained=False, scale=0.8)  # scale: pyiqa's setting for this file
        return network


def build_clipiqa(device: str) -> Measure:
    """Build CLIP-IQA (Wang et al. 2023) on CLIP's RN50. Raises `ValueError` for a file that is not CLIP."""
    ensure_torchvision()
    from pyiqa.archs.clipiqa_arch import CLIPIQA

    path = assets.find("clip-rn50")
    try:
        # If given a file, pyiqa reads it as OpenAI's TorchScript archive and does not download.
        network = CLIPIQA(model_type="clipiqa", backbone=str(path))
    except (RuntimeError, KeyError, AttributeError, EOFError, pickle.UnpicklingError) as error:
        raise ModelError(f"{path} is not the TorchScript archive of OpenAI's CLIP: {error!r}") from error
    require_finite(network.state_dict(), path)
    return _measure(network, device)


def build_niqe(device: str) -> Measure:
    """Build NIQE as pyiqa computes it, on the CPU, with the pristine model of `niqe`.

    It takes Y of YIQ, and its value depends on rounding errors in flat areas: on portraits with a plain background the
    two conventions differ by up to .6. Blocks of 96 x 96 are needed, as for `niqe`.
    """
    ensure_torchvision()
    from pyiqa.archs.niqe_arch import calculate_niqe

    pristine = niqe.load_pristine()
    mean, covariance = torch.from_numpy(pristine.mean), torch.from_numpy(pristine.covariance)

    def measure(images: Tensor, reference: Tensor | None = None) -> Tensor:
        if min(images.shape[-2:]) < niqe.BLOCK:
            raise UndefinedMetric(f"NIQE needs at least {niqe.BLOCK} x {niqe.BLOCK} pixels. Use another metric.")
        values = calculate_niqe(images.detach().cpu(), mu_pris_param=mean, cov_pris_param=covariance)
        return torch.as_tensor(values).flatten()

    return measure


def _measure(network: nn.Module, device: str) -> Measure:
    network.eval().requires_grad_(False).to(device)

    def measure(images: Tensor, reference: Tensor | None = None) -> Tensor:
        score: Tensor = network(images).flatten()
        return score

    return measure


@contextmanager
def patched(module: ModuleType, name: str, replacement: Any) -> Iterator[None]:
    """Replace `module.name` temporarily, for constructors of pyiqa that would download."""
    original = getattr(module, name)
    setattr(module, name, replacement)
    try:
        yield
    finally:
        setattr(module, name, original)
