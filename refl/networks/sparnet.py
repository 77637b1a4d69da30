"""SPARNet: residual blocks whose branch is weighted by a spatial attention map.

Chen et al., Learning Spatial Attention for Face Super-Resolution, TIP 2020. SPARNetHD is its version for 512x512.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HOURGLASS_CHANNELS = 64
SUFFIXES = ("_orig", "_u", "_v")


@dataclass(frozen=True)
class SPARNetConfig:
    """Structure of SPARNetHD. size: of the images; smallest: of the innermost features; depth: of the middle part."""

    size: int = 512
    smallest: int = 32
    fewest_channels: int = 32
    most_channels: int = 512
    depth: int = 10

    @property
    def steps(self) -> int:
        """Return how often the resolution is halved."""
        return round(math.log2(self.size / self.smallest))

    def channels(self, step: int) -> int:
        """Return the channels after halving the resolution `step` times."""
        first = min(max(self.most_channels // (self.steps + 1), self.fewest_channels), self.most_channels)
        return min(max(first << step, self.fewest_channels), self.most_channels)


class Convolution(nn.Module):
    """Optional upsampling, reflection padding, 3x3 convolution, then optional instance normalisation and activation."""

    def __init__(
        self, before: int, after: int, scale: str = "none", *, normalise: bool = False, activate: bool = False
    ) -> None:
        super().__init__()
        self.scale, self.activate = scale, activate
        self.conv2d = nn.Conv2d(before, after, 3, stride=2 if scale == "down" else 1, bias=not normalise)
        self.norm = Norm(after) if normalise else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.scale == "up":
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        x = self.norm(self.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect")))
        return F.leaky_relu(x, 0.2) if self.activate else x


class Norm(nn.Module):
    """Instance normalisation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.InstanceNorm2d(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        normalised: Tensor = self.norm(x)
        return normalised


class Hourglass(nn.Module):
    """Weight features (B, C, H, W) by a map (B, 1, H, W) in [0, 1], found at `depth` resolutions."""

    def __init__(self, depth: int, channels: int) -> None:
        super().__init__()
        self.depth = depth
        for level in range(depth, 0, -1):
            before = channels if level == depth else HOURGLASS_CHANNELS
            self.add_module(f"b1_{level}", _normalised(before))
            self.add_module(f"b2_{level}", _normalised(before, "down"))
            if level == 1:
                self.b2_plus_1 = _normalised(HOURGLASS_CHANNELS)
            self.add_module(f"b3_{level}", _normalised(HOURGLASS_CHANNELS, "up"))
        self.out_block = nn.Sequential(Convolution(HOURGLASS_CHANNELS, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        weighted: Tensor = x * self.out_block(self._at(self.depth, x))
        return weighted

    def _at(self, level: int, x: Tensor) -> Tensor:
        inner = self.get_submodule(f"b2_{level}")(x)
        inner = self._at(level - 1, inner) if level > 1 else self.b2_plus_1(inner)
        side, inner = self.get_submodule(f"b1_{level}")(x), self.get_submodule(f"b3_{level}")(inner)
        if inner.shape != side.shape:  # an odd size was rounded up
            inner = F.interpolate(inner, side.shape[2:])
        return side + inner  # type: ignore[no-any-return]


def _normalised(before: int, scale: str = "none") -> Convolution:
    return Convolution(before, HOURGLASS_CHANNELS, scale, normalise=True, activate=True)


class AttentionBlock(nn.Module):
    """A residual block with an hourglass. scale: "down" halves, "up" doubles the resolution."""

    def __init__(self, before: int, after: int, scale: str, depth: int) -> None:
        super().__init__()
        same = scale == "none" and before == after
        self.shortcut_func = nn.Identity() if same else Convolution(before, after, scale)
        self.preact_func = nn.Sequential(Norm(before), nn.LeakyReLU(0.2))
        first, second = {"down": ("none", "down"), "up": ("up", "none")}.get(scale, ("none", "none"))
        self.conv1 = Convolution(before, after, first, normalise=True, activate=True)
        self.conv2 = Convolution(after, after, second, normalise=True)
        self.att_func = Hourglass(depth, after)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv2(self.conv1(self.preact_func(x)))
        added: Tensor = self.shortcut_func(x) + self.att_func(branch)
        return added


class SPARNet(nn.Module):
    """Restore (B, 3, S, S) in [-1, 1] to about the same range, S = `config.size`."""

    def __init__(self, config: SPARNetConfig) -> None:
        super().__init__()
        self.config = config
        steps, channels = config.steps, config.channels
        self.encoder = nn.Sequential(
            Convolution(3, channels(0)),
            *(AttentionBlock(channels(i), channels(i + 1), "down", steps - i) for i in range(steps)),
        )
        middle = channels(steps)
        self.res_layers = nn.Sequential(
            *(AttentionBlock(middle, middle, "none", 1) for _ in range(config.depth + 3 - steps))
        )
        self.decoder = nn.Sequential(
            *(AttentionBlock(channels(i), channels(i - 1), "up", steps - i + 2) for i in range(steps, 0, -1))
        )
        self.out_conv = Convolution(channels(0), 3)

    def forward(self, images: Tensor) -> Tensor:
        restored: Tensor = self.out_conv(self.decoder(self.res_layers(self.encoder(images))))
        return restored


def fold_spectral_norm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Divide each weight by its largest singular value, estimated by u W v with the vectors that the file contains.

    Raises `KeyError` naming a missing vector.
    """
    folded = {name: value for name, value in state.items() if not name.endswith(SUFFIXES)}
    for name, weight in state.items():
        if name.endswith("_orig"):
            stem = name.removesuffix("_orig")
            u, v = state[f"{stem}_u"].double(), state[f"{stem}_v"].double()
            folded[stem] = weight.double().div(torch.dot(u, weight.double().flatten(1) @ v)).to(weight.dtype)
    return folded
