"""VQFR v2, in the layout of `VQFR_v2.pth`. Codes are predicted; a ratio weighs quality against fidelity.

Gu et al., VQFR: Blind Face Restoration with Vector-Quantized Dictionary and Parallel Decoder, ECCV 2022.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refl.networks.loading import Draw, open_network
from refl.networks.vqfr_blocks import ResidualBlock, TextureWarping, normalise


@dataclass(frozen=True)
class VQFR2Config:
    """Structure. channels: of the first level; multipliers: by which the levels have more, each at half resolution.

    blocks: per level. codes: number and width of the dictionary's entries. given: channels of the input's features.
    size: of the images.
    """

    channels: int = 64
    multipliers: tuple[int, ...] = (1, 2, 2, 4, 4, 8)
    blocks: int = 2
    codes: tuple[int, int] = (1024, 256)
    given: int = 32
    size: int = 512

    def widths(self) -> list[int]:
        """Return the channels of the levels, from full resolution down."""
        return [multiplier * self.channels for multiplier in self.multipliers]


STRUCTURE = VQFR2Config()


class Attention(nn.Module):
    """Self-attention of one head among the positions of (B, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = normalise(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        normalised = self.norm(x)
        query, key, value = (
            layer(normalised).flatten(2).transpose(1, 2).contiguous() for layer in (self.q, self.k, self.v)
        )
        attended = F.scaled_dot_product_attention(query, key, value)
        return x + self.proj_out(attended.transpose(1, 2).reshape(x.shape))  # type: ignore[no-any-return]


class Downsample(nn.Module):
    """Convolution with stride 2, padded at the right and at the bottom."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return halved


class Upsample(nn.Module):
    """Nearest-neighbour upsampling by 2, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return doubled


def _level(before: int, after: int, blocks: int, *, attends: bool) -> list[nn.Module]:
    """Return a level's residual blocks, each followed by attention at the last level."""
    modules: list[nn.Module] = []
    for number in range(blocks):
        modules.append(ResidualBlock(after if number else before, after))
        if attends:
            modules.append(Attention(after))
    return modules


def _middle(channels: int) -> nn.Sequential:
    return nn.Sequential(ResidualBlock(channels, channels), Attention(channels), ResidualBlock(channels, channels))


def _output(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(normalise(before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))


class Encoder(nn.Module):
    """Map (B, 3, S, S) to features (B, C, S / 32, S / 32)."""

    def __init__(self, config: VQFR2Config) -> None:
        super().__init__()
        widths = config.widths()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList()
        for level, width in enumerate(widths):
            before = widths[max(level - 1, 0)]
            modules: list[nn.Module] = [Downsample(before)] if level else []
            modules += _level(before, width, config.blocks, attends=level == len(widths) - 1)
            self.blocks.append(nn.Sequential(*modules))
        self.mid_blocks = _middle(widths[-1])
        self.conv_out = _output(widths[-1], config.codes[1])

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_in(images)
        for level in self.blocks:
            x = level(x)
        features: Tensor = self.conv_out(self.mid_blocks(x))
        return features


class Decoder(nn.Module):
    """Decode codes (B, C, h, w) to textures at each level, from the last to full resolution."""

    def __init__(self, config: VQFR2Config) -> None:
        super().__init__()
        widths = config.widths()
        self.conv_in = nn.Conv2d(config.codes[1], widths[-1], 3, padding=1)
        self.mid_blocks = _middle(widths[-1])
        self.blocks = nn.ModuleList()
        for level in reversed(range(len(widths))):
            is_last = level == len(widths) - 1
            before = widths[level] if is_last else widths[level + 1]
            modules: list[nn.Module] = [] if is_last else [Upsample(before)]
            modules += _level(before, widths[level], config.blocks, attends=is_last)
            self.blocks.append(nn.Sequential(*modules))
        self.conv_out = _output(widths[0], 3)

    def forward(self, codes: Tensor) -> list[Tensor]:
        x = self.mid_blocks(self.conv_in(codes))
        textures = []
        for level in self.blocks:
            x = level(x)
            textures.append(x)
        return textures


class MainBranch(nn.Module):
    """Warp the textures of each level towards the input, and decode them to features at full resolution."""

    def __init__(self, config: VQFR2Config) -> None:
        super().__init__()
        widths = config.widths()
        self.decoder_dict, self.pre_upsample_dict = nn.ModuleDict(), nn.ModuleDict()
        self.align_func_dict = nn.ModuleDict()
        for level in reversed(range(len(widths))):
            name, width, is_last = f"Level_{2**level}", widths[level], level == len(widths) - 1
            inner = 0 if is_last else widths[level + 1]
            self.align_func_dict[name] = TextureWarping(width, config.given, inner)
            if not is_last:
                self.pre_upsample_dict[name] = nn.Sequential(
                    nn.UpsamplingNearest2d(scale_factor=2), nn.Conv2d(inner, width, 3, padding=1)
                )
                self.decoder_dict[name] = ResidualBlock(2 * width, width)

    def forward(self, textures: list[Tensor], given: Tensor) -> Tensor:
        x = offsets = None
        for texture, (name, align) in zip(textures, self.align_func_dict.items(), strict=True):
            resized = F.interpolate(given, texture.shape[2:], mode="bilinear")
            warped, offsets = align(texture, resized, offsets)
            if x is not None:
                warped = self.decoder_dict[name](torch.cat([self.pre_upsample_dict[name](x), warped], dim=1))
            x = warped
        return x  # type: ignore[return-value]  # there is at least one level


class VQFR2(nn.Module):
    """Restore (B, 3, S, S) in [0, 1] to about the same range. S is a multiple of 32; trained at `config.size`.

    fidelity: from 0 (best quality: textures of the dictionary alone) to 1.
    """

    def __init__(self, config: VQFR2Config, fidelity: float = 0.0) -> None:
        super().__init__()
        self.fidelity, self.size = fidelity, config.size
        count, width = config.codes
        self.encoder, self.decoder, self.main_branch = Encoder(config), Decoder(config), MainBranch(config)
        self.feat2index = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, count))
        self.inpfeat_extraction = nn.Conv2d(3, config.given, 3, padding=1)
        self.quantizer = nn.ModuleDict({"embedding": nn.Embedding(count, width)})

    def forward(self, images: Tensor, draw: Draw | None = None) -> Tensor:
        images = 2 * images - 1
        indices = self.feat2index(self.encoder(images).movedim(1, -1)).argmax(-1)
        textures = self.decoder(self.quantizer["embedding"](indices).movedim(-1, 1))
        features = textures[-1]
        if self.fidelity > 0:
            features = features + self.fidelity * self.main_branch(textures, self.inpfeat_extraction(images))
        restored: Tensor = (self.decoder.conv_out(features) + 1) / 2
        return restored


def open_vqfr_2(file: Path, *, fidelity: float = 0.0, config: VQFR2Config = STRUCTURE) -> VQFR2:
    """Open `VQFR_v2.pth` (asset "vqfr-2"). Raises FileNotFoundError or `WeightsError`."""
    return open_network(lambda: VQFR2(config, fidelity), file)
