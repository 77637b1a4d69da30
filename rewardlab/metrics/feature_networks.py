"""Feature networks for the Frechet distances of `fid`."""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewardlab import assets
from rewardlab.metrics.fid import Extract
from rewardlab.metrics.pyiqa_networks import patched
from rewardlab.metrics.registry import require_images
from rewardlab.torchvision_stub import ensure_torchvision
from rewardlab.weight_files import fill, read_tensors

INCEPTION_SIDE = 299
EFFICIENTNET_SIDE = 224


def build_inception(device: str) -> Extract:
    """Build the 2015 Inception of the original FID: (B, 2048). Bilinear resize to 299 x 299, not antialiased."""
    ensure_torchvision()
    from pyiqa.archs import inception

    path = assets.find("fid-inception")
    with (
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
        patched(inception, "load_pretrained_network", lambda *_: None),  # which would download and unpickle
    ):
        warnings.filterwarnings("ignore", category=UserWarning, module="torchvision")
        network = inception.fid_inception_v3()
    fill(network, read_tensors(path), path)
    network.fc = nn.Identity()

    def prepare(images: Tensor) -> Tensor:
        side = (INCEPTION_SIDE, INCEPTION_SIDE)
        return F.interpolate(images, side, mode="bilinear", align_corners=False)

    return _extract(network, prepare, device)


def build_efficientnet(device: str) -> Extract:
    """Build EfficientNet-Lite0's pooled features (ImageNet): (B, 1280). Bicubic resize to 224 x 224, antialiased."""
    ensure_torchvision()
    import timm

    from rewardlab.weight_files import fill_in_order

    with torch.random.fork_rng(devices=[]):
        network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    fill_in_order(network, assets.find("efficientnet-lite0"))

    def prepare(images: Tensor) -> Tensor:
        side = (EFFICIENTNET_SIDE, EFFICIENTNET_SIDE)
        return F.interpolate(images, side, mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)

    return _extract(network, prepare, device)


def _extract(network: nn.Module, prepare: Extract, device: str) -> Extract:
    network.eval().requires_grad_(False).to(device)

    @torch.no_grad()
    def extract(images: Tensor) -> Tensor:
        require_images(images)
        features: Tensor = network(2 * prepare(images.to(device)) - 1).float().cpu()
        return features

    return extract
