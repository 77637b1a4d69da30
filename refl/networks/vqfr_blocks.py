"""Parts that both versions of VQFR have: residual blocks and texture warping.

Gu et al., VQFR: Blind Face Restoration with Vector-Quantized Dictionary and Parallel Decoder, ECCV 2022.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUPS = 32  # of the group normalisation
OFFSET_GROUPS = 4  # of the deformable convolution
KERNEL = 3


def normalise(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(GROUPS, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Two normalised 3x3 convolutions. The shortcut of version 1 has another name, see `vqfr_1`."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = normalise(before), nn.Conv2d(before, after, 3, padding=1)
        self.norm2, self.conv2 = normalise(after), nn.Conv2d(after, after, 3, padding=1)
        self.residual_func = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + self.residual_func(x)  # type: ignore[no-any-return]


def deformable_convolution(x: Tensor, offsets: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve with samples taken at shifted positions (modulated deformable convolution, stride 1).

    Zhu et al., Deformable ConvNets v2, CVPR 2019. Written with `grid_sample`, since torchvision's operator is missing
    in its builds for other versions of torch.

    x: (B, C, H, W). offsets: (B, 2 G K, H, W) in pixels; for each of G groups of channels and K taps of the kernel, the
    shift down and the shift to the right. mask: (B, G K, H, W) weights of the samples. weight: (C', C, k, k), K = k k.
    bias: (C',). Samples beyond the edge are 0. Returns (B, C', H, W).
    """
    batch, channels, height, width = x.shape
    size = weight.shape[-1]
    groups = mask.shape[1] // size**2
    offsets = offsets.unflatten(1, (groups, size**2, 2))
    mask = mask.unflatten(1, (groups, size**2))
    grouped = x.reshape(batch * groups, channels // groups, height, width)
    rows = torch.arange(height, device=x.device, dtype=x.dtype)[:, None]
    columns = torch.arange(width, device=x.device, dtype=x.dtype)
    unit = x.new_tensor([2 / max(width - 1, 1), 2 / max(height - 1, 1)])
    result = bias[:, None, None].expand(batch, -1, height, width)
    for tap in range(size**2):  # one tap at a time needs a ninth of the memory
        down = rows + (tap // size - size // 2) + offsets[:, :, tap, 0]
        right = columns + (tap % size - size // 2) + offsets[:, :, tap, 1]
        grid = torch.stack([right, down], dim=-1).flatten(0, 1) * unit - 1
        sampled = F.grid_sample(grouped, grid, align_corners=True)
        sampled = (sampled * mask[:, :, tap].flatten(0, 1)[:, None]).view(batch, channels, height, width)
        result = result + F.conv2d(sampled, weight[:, :, tap // size, tap % size, None, None])
    return result


class DeformableConvolution(nn.Module):
    """A 3x3 deformable convolution whose offsets and mask are computed from other features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, KERNEL, KERNEL))
        self.bias = nn.Parameter(torch.empty(channels))
        self.conv_offset = nn.Conv2d(channels, 3 * OFFSET_GROUPS * KERNEL**2, 3, padding=1)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """x, features: (B, C, H, W)."""
        offsets, mask = self.conv_offset(features).tensor_split([2 * OFFSET_GROUPS * KERNEL**2], dim=1)
        return deformable_convolution(x, offsets, mask.sigmoid(), self.weight, self.bias)


class TextureWarping(nn.Module):
    """Warp features of the dictionary towards the input face.

    given: channels of the input's features. previous: channels of the offsets from the coarser level, 0 for none.
    """

    def __init__(self, channels: int, given: int, previous: int) -> None:
        super().__init__()
        self.offset_conv1 = nn.Sequential(
            nn.Conv2d(channels + given, channels, 1),
            normalise(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            normalise(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 1),
        )
        self.offset_conv2 = nn.Sequential(
            nn.Conv2d(channels + previous, channels, 3, padding=1), normalise(channels), nn.SiLU()
        )
        self.dcn = DeformableConvolution(channels)

    def forward(self, x: Tensor, given: Tensor, previous: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the warped features and the features of the offsets, both (B, C, H, W) as `x`."""
        features = self.offset_conv1(torch.cat([given, x], dim=1))
        if previous is not None:
            doubled = 2 * F.interpolate(previous, scale_factor=2.0, mode="bilinear")
            features = torch.cat([features, doubled], dim=1)
        features = self.offset_conv2(features)
        return self.dcn(x, features), features


def nearest_codes(features: Tensor, codes: Tensor) -> Tensor:
    """Replace each position of (B, C, H, W) by the nearest of the codes (N, C) in Euclidean distance."""
    flat = features.movedim(1, -1)
    distances = flat.square().sum(-1, keepdim=True) + codes.square().sum(1) - 2 * flat @ codes.T
    return codes[distances.argmin(-1)].movedim(-1, 1)
