"""Deg. (Wang et al. 2021, GFPGAN; Gu et al. 2022, VQFR): ArcFace's angle between restored and original face.

The network is the greyscale 128 x 128 ResNet-18 that papers on face restoration use, with the weights
`resnet18_110.pth`.
"""

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rewardlab import assets
from rewardlab.images import to_arrays
from rewardlab.metrics.registry import FullReferenceMeasure
from rewardlab.weight_files import fill, read_tensors

SIDE = 128
PNG_LUMA = np.array([9797, 19234, 3737], np.uint32)  # red, green, blue in 2^-15, as when OpenCV reads a PNG as grey
STAGES = (64, 128, 256, 512)  # channels, two blocks each


class IRBlock(nn.Module):
    """Residual block with a normalisation before the first convolution; its PReLU is used twice."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = nn.Sequential()
        if stride > 1 or channels != out_channels:
            self.downsample.append(nn.Conv2d(channels, out_channels, 1, stride, bias=False))
            self.downsample.append(nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.prelu(self.bn1(self.conv1(self.bn0(x))))
        outer: Tensor = self.prelu(self.bn2(self.conv2(inner)) + self.downsample(x))
        return outer


class ArcFaceResNet18(nn.Module):
    """float (B, 1, 128, 128) in [-1, 1] -> (B, 512), not normalised. Layers are named as in the public weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, STAGES[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STAGES[0])
        self.prelu = nn.PReLU()
        self.maxpool = nn.MaxPool2d(2)
        self.layer1 = _stage(STAGES[0], STAGES[0], stride=1)
        self.layer2 = _stage(STAGES[0], STAGES[1], stride=2)
        self.layer3 = _stage(STAGES[1], STAGES[2], stride=2)
        self.layer4 = _stage(STAGES[2], STAGES[3], stride=2)
        self.bn4 = nn.BatchNorm2d(STAGES[3])
        self.dropout = nn.Dropout()
        self.fc5 = nn.Linear(STAGES[3] * (SIDE // 16) ** 2, 512)
        self.bn5 = nn.BatchNorm1d(512)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.prelu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        features: Tensor = self.bn5(self.fc5(self.dropout(self.bn4(x)).flatten(1)))
        return features


def _stage(channels: int, out_channels: int, *, stride: int) -> nn.Sequential:
    return nn.Sequential(IRBlock(channels, out_channels, stride), IRBlock(out_channels, out_channels, 1))


def load_network() -> ArcFaceResNet18:
    """Load the network, frozen, on the CPU. Raises `MissingAsset`, or `ValueError` naming what does not match."""
    path = assets.find("arcface-resnet18")
    with torch.device("meta"):
        network = ArcFaceResNet18()
    network.to_empty(device="cpu")
    fill(network, read_tensors(path), path)
    return network.eval().requires_grad_(False)


def build_arcface(device: str) -> FullReferenceMeasure:
    """Build the angle between ArcFace's embeddings of the whole images in degrees, [0, 180].

    The reference script excludes images below one degree from its mean; here every image has a value.
    """
    network = load_network().to(device)

    def measure(images: Tensor, reference: Tensor) -> Tensor:
        return angles(network(grey(images)), network(grey(reference)))

    return measure


def grey(images: Tensor) -> Tensor:
    """Convert float (B, 3, H, W) in [0, 1] to (B, 1, 128, 128) in [-1, 1], exactly as VQFR's script reads a PNG."""
    pictures = [((array.astype(np.uint32) @ PNG_LUMA) >> 15).astype(np.uint8) for array in to_arrays(images)]
    resized = np.stack([cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for picture in pictures])
    return torch.from_numpy(resized).unsqueeze(1).to(images.device).float().sub(127.5).div(127.5)


def angles(first: Tensor, second: Tensor) -> Tensor:
    """Return the angles of two (B, D) in degrees, (B,). In float32 equal vectors would be up to .03 degrees apart."""
    cosine = F.cosine_similarity(first.double(), second.double()).clamp(-1, 1)
    return torch.rad2deg(torch.arccos(cosine))
