"""VQFR v1, in the layout of `VQFR_v1-33a1fac5.pth`. Codes are the nearest ones of the dictionary.

Gu et al., VQFR: Blind Face Restoration with Vector-Quantized Dictionary and Parallel Decoder, ECCV 2022.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refl.networks.loading import Draw, open_network
from refl.networks.vqfr_blocks import ResidualBlock, TextureWarping, nearest_codes, normalise


@dataclass(frozen=True)
class VQFR1Config:
    """Structure. channels: of the first level; multipliers: by which the levels have more, each at half resolution.

    codes: number and width of the dictionary's entries. given: channels of the input's features. size: of the images.
    """

    channels: int = 128
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 2, 4)
    encoder_blocks: int = 2
    decoder_blocks: int = 3
    codes: tuple[int, int] = (1024, 256)
    given: int = 32
    size: int = 512

    def names(self) -> list[str]:
        """Return the names of the levels, from full resolution down."""
        return [f"Level_{2**level}" for level in range(len(self.multipliers))]

    def widths(self) -> list[int]:
        """Return the channels of the levels, from full resolution down."""
        return [multiplier * self.channels for multiplier in self.multipliers]


STRUCTURE = VQFR1Config()


class Resample(nn.Module):
    """Bilinear resizing, before (factor < 1) or after (factor > 1) a 3x3 convolution. A factor of 1 does nothing."""

    def __init__(self, before: int, after: int, factor: float) -> None:
        super().__init__()
        self.factor = factor
        if factor != 1:
            self.conv = nn.Conv2d(before, after, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.factor > 1:
            x = self.conv(x)
        if self.factor != 1:
            x = F.interpolate(x, scale_factor=self.factor, mode="bilinear")
        if self.factor < 1:
            x = self.conv(x)
        return x


class Encoder(nn.Module):
    """Map (B, 3, S, S) to features (B, C, S / 32, S / 32) at the last level."""

    def __init__(self, config: VQFR1Config) -> None:
        super().__init__()
        names, widths = config.names(), config.widths()
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.pre_downsample_dict, self.encoder_dict = nn.ModuleDict(), nn.ModuleDict()
        for level, (name, width) in enumerate(zip(names, widths, strict=True)):
            self.pre_downsample_dict[name] = Resample(widths[max(level - 1, 0)], width, 0.5 if level else 1)
            self.encoder_dict[name] = nn.Sequential(
                *(ResidualBlock(width, width) for _ in range(config.encoder_blocks))
            )
        last = nn.Sequential(normalise(widths[-1]), nn.SiLU(), nn.Conv2d(widths[-1], widths[-1], 3, padding=1))
        self.enc_convout_dict = nn.ModuleDict({names[-1]: last})
        self.last = names[-1]

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv_in(images)
        for name, blocks in self.encoder_dict.items():
            x = blocks(self.pre_downsample_dict[name](x))
        features: Tensor = self.enc_convout_dict[self.last](x)
        return features


class Quantizer(nn.Module):
    """Replace features (B, C, h, w) by entries of the dictionary."""

    def __init__(self, channels: int, codes: tuple[int, int]) -> None:
        super().__init__()
        self.quant_conv = nn.Conv2d(channels, codes[1], 1)
        self.post_quant_conv = nn.Conv2d(codes[1], channels, 1)
        self.embedding = nn.Embedding(*codes)

    def forward(self, features: Tensor) -> Tensor:
        quantized: Tensor = self.post_quant_conv(nearest_codes(self.quant_conv(features), self.embedding.weight))
        return quantized


class Decoder(nn.Module):
    """Decode quantised features (B, C, h, w) to textures at each level, from the last to full resolution.

    `conv_out`, which maps them to an image without regard to fidelity, is part of the file but not needed.
    """

    def __init__(self, config: VQFR1Config) -> None:
        super().__init__()
        names, widths = config.names(), config.widths()
        self.pre_upsample_dict, self.decoder_dict = nn.ModuleDict(), nn.ModuleDict()
        for level in reversed(range(len(names))):
            inner = widths[min(level + 1, len(names) - 1)]
            self.pre_upsample_dict[names[level]] = Resample(inner, widths[level], 2 if level < len(names) - 1 else 1)
            blocks = (ResidualBlock(widths[level], widths[level]) for _ in range(config.decoder_blocks))
            self.decoder_dict[names[level]] = nn.Sequential(*blocks)
        self.conv_out = nn.Sequential(normalise(widths[0]), nn.SiLU(), nn.Conv2d(widths[0], 3, 3, padding=1))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        textures = {}
        for name, blocks in self.decoder_dict.items():
            x = blocks(self.pre_upsample_dict[name](x))
            textures[name] = x
        return textures


class Warping(TextureWarping):
    """`TextureWarping` of the input's features, which are downsampled with a convolution."""

    def __init__(self, channels: int, given: int, previous: int, factor: int) -> None:
        super().__init__(channels, given, previous)
        self.downsample = Resample(given, given, 1 / factor)

    def forward(self, x: Tensor, given: Tensor, previous: Tensor | None) -> tuple[Tensor, Tensor]:
        return super().forward(x, self.downsample(given), previous)


class MainDecoder(nn.Module):
    """Warp the textures of each level towards the input, and decode them."""

    def __init__(self, config: VQFR1Config) -> None:
        super().__init__()
        names, widths = config.names(), config.widths()
        self.decoder_dict, self.pre_upsample_dict = nn.ModuleDict(), nn.ModuleDict()
        self.align_func_dict = nn.ModuleDict()
        for level in reversed(range(len(names))):
            is_last = level == len(names) - 1
            previous = 0 if is_last else widths[level + 1]
            self.align_func_dict[names[level]] = Warping(widths[level], config.given, previous, 2**level)
            if not is_last:
                self.decoder_dict[names[level]] = ResidualBlock(2 * widths[level], widths[level])
                self.pre_upsample_dict[names[level]] = Resample(widths[level + 1], widths[level], 2)
        self.conv_out_1 = nn.Sequential(normalise(widths[0]), nn.SiLU())
        self.conv_out = nn.Sequential(nn.Conv2d(widths[0] + 3, 3, 3, padding=1))

    def forward(self, textures: dict[str, Tensor], given: Tensor, images: Tensor) -> Tensor:
        x: Tensor | None = None
        offsets: Tensor | None = None
        for name, align in self.align_func_dict.items():
            warped, offsets = align(textures[name], given, offsets)
            if x is None:
                x = warped
            else:
                x = self.decoder_dict[name](torch.cat([self.pre_upsample_dict[name](x), warped], dim=1))
        restored: Tensor = self.conv_out(torch.cat([self.conv_out_1(x), images], dim=1))
        return restored


class InputFeatures(nn.Module):
    """Features (B, C, S, S) of the input (B, 3, S, S)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.conv(images)
        return features


class VQFR1(nn.Module):
    """Restore (B, 3, S, S) in [0, 1] to about the same range. S is a multiple of 32; trained at `config.size`."""

    def __init__(self, config: VQFR1Config) -> None:
        super().__init__()
        self.size = config.size
        self.inpfeat_extraction = InputFeatures(config.given)
        self.encoder, self.decoder, self.main_decoder = Encoder(config), Decoder(config), MainDecoder(config)
        self.quantizer = nn.Module()
        self.quantizer.quantize_dict = nn.ModuleDict({config.names()[-1]: Quantizer(config.widths()[-1], config.codes)})
        self.last = config.names()[-1]

    def forward(self, images: Tensor, draw: Draw | None = None) -> Tensor:
        images = 2 * images - 1
        quantize = self.quantizer.get_submodule(f"quantize_dict.{self.last}")
        textures = self.decoder(quantize(self.encoder(images)))
        restored: Tensor = (self.main_decoder(textures, self.inpfeat_extraction(images), images) + 1) / 2
        return restored


def open_vqfr_1(file: Path, config: VQFR1Config = STRUCTURE) -> VQFR1:
    """Open `VQFR_v1-33a1fac5.pth` (asset "vqfr-1"). Raises FileNotFoundError or `WeightsError`."""
    return open_network(lambda: VQFR1(config), file, _rename)


def _rename(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the shortcuts as in version 2."""
    return {name.replace(".shortcut_conv.", ".residual_func."): value for name, value in state.items()}
