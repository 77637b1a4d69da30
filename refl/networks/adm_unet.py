"""The U-Net of ablated diffusion models, which DR2 and DifFace use.

Dhariwal and Nichol, Diffusion Models Beat GANs on Image Synthesis, NeurIPS 2021. Unlike the U-Net of diffusers, the
number of blocks may differ between levels. Names of parameters are those of the authors' files.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class UNetConfig:
    """Structure of a U-Net.

    channels: of the first level; multipliers: by which each level has more; blocks: residual blocks of each level on
    the way down (one more on the way up). attention_levels: numbers of the levels with self-attention, 0 being the
    full resolution. head_channels: width of an attention head. residual_resampling: resolution changes inside residual
    blocks instead of by a convolution. groups: of the group normalisation.
    """

    channels: int
    multipliers: tuple[int, ...]
    blocks: tuple[int, ...]
    attention_levels: tuple[int, ...]
    residual_resampling: bool
    head_channels: int = 64
    groups: int = 32


class Upsample(nn.Module):
    """Nearest-neighbour upsampling by 2, followed by a convolution unless `conv` is false."""

    def __init__(self, channels: int, *, conv: bool = True) -> None:
        super().__init__()
        if conv:
            self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        convolved: Tensor = self.conv(x) if hasattr(self, "conv") else x
        return convolved


class Downsample(nn.Module):
    """Convolution with stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        halved: Tensor = self.op(x)
        return halved


class ResidualBlock(nn.Module):
    """Two convolutions; the embedding of the timestep scales and shifts the second normalisation.

    resample: nn.Identity(), or what halves or doubles the resolution before the first convolution and on the shortcut.
    """

    def __init__(self, before: int, after: int, embedding: int, groups: int, resample: nn.Module | None = None) -> None:
        super().__init__()
        self.resample = resample or nn.Identity()
        self.in_layers = nn.Sequential(nn.GroupNorm(groups, before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(embedding, 2 * after))
        # The identity keeps the numbering of the files, which have a dropout here.
        self.out_layers = nn.Sequential(
            nn.GroupNorm(groups, after), nn.SiLU(), nn.Identity(), nn.Conv2d(after, after, 3, padding=1)
        )
        self.skip_connection = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map (B, C, H, W) and (B, E) to (B, C', H', W')."""
        h = self.in_layers[2](self.resample(self.in_layers[:2](x)))
        scale, shift = self.emb_layers(embedding)[..., None, None].chunk(2, dim=1)
        h = self.out_layers[1:](self.out_layers[0](h) * (1 + scale) + shift)
        return h + self.skip_connection(self.resample(x))  # type: ignore[no-any-return]


class SelfAttention(nn.Module):
    """Multi-head attention among all positions. Each head has its query, key and value in adjacent channels."""

    def __init__(self, channels: int, head_channels: int, groups: int) -> None:
        super().__init__()
        self.heads = channels // head_channels
        self.norm = nn.GroupNorm(groups, channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        flat = x.flatten(2)
        qkv = self.qkv(self.norm(flat)).unflatten(1, (self.heads, 3, -1)).transpose(-1, -2)  # (B, heads, 3, HW, c)
        attended = F.scaled_dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
        projected = self.proj_out(attended.transpose(-1, -2).flatten(1, 2))
        added: Tensor = (flat + projected).view_as(x)
        return added


class Stage(nn.Sequential):
    """Modules in sequence, of which residual blocks also take the embedding of the timestep."""

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:  # type: ignore[override]  # another argument
        for module in self:
            x = module(x, embedding) if isinstance(module, ResidualBlock) else module(x)
        return x


class ADMUNet(nn.Module):
    """Predict noise and a variance: (B, 3, S, S) in about [-1, 1] and timesteps (B,) to (B, 6, S, S).

    S must be a multiple of 2 to the number of levels less one. The first three channels are the noise, the others the
    logarithm of the variance as a share between its bounds, scaled to [-1, 1].
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        embedding, first = 4 * config.channels, config.multipliers[0] * config.channels
        self.time_embed = nn.Sequential(
            nn.Linear(config.channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        )
        self.input_blocks = nn.ModuleList([Stage(nn.Conv2d(3, first, 3, padding=1))])
        skipped = self._add_encoder(first, embedding)
        deepest = skipped[-1]
        self.middle_block = Stage(
            ResidualBlock(deepest, deepest, embedding, config.groups),
            SelfAttention(deepest, config.head_channels, config.groups),
            ResidualBlock(deepest, deepest, embedding, config.groups),
        )
        self.output_blocks = nn.ModuleList()
        self._add_decoder(deepest, skipped, embedding)
        self.out = nn.Sequential(nn.GroupNorm(config.groups, first), nn.SiLU(), nn.Conv2d(first, 6, 3, padding=1))

    def _add_encoder(self, channels: int, embedding: int) -> list[int]:
        """Add the levels from full resolution down. Return the channels of each stage's output."""
        config, last = self.config, len(self.config.multipliers) - 1
        skipped = [channels]
        for level, (multiplier, blocks) in enumerate(zip(config.multipliers, config.blocks, strict=True)):
            for _ in range(blocks):
                self.input_blocks.append(self._stage(channels, multiplier, level, embedding))
                channels = multiplier * config.channels
                skipped.append(channels)
            if level < last:
                halve: nn.Module = Downsample(channels)
                if config.residual_resampling:
                    halve = ResidualBlock(channels, channels, embedding, config.groups, nn.AvgPool2d(2))
                self.input_blocks.append(Stage(halve))
                skipped.append(channels)
        return skipped

    def _add_decoder(self, channels: int, skipped: list[int], embedding: int) -> None:
        """Add the levels up to full resolution; each stage also gets the output of its counterpart in the encoder."""
        config, remaining = self.config, list(skipped)
        for level in reversed(range(len(config.multipliers))):
            for number in range(config.blocks[level] + 1):
                stage = self._stage(channels + remaining.pop(), config.multipliers[level], level, embedding)
                channels = config.multipliers[level] * config.channels
                if level and number == config.blocks[level]:
                    double: nn.Module = Upsample(channels)
                    if config.residual_resampling:
                        double = ResidualBlock(
                            channels, channels, embedding, config.groups, Upsample(channels, conv=False)
                        )
                    stage.append(double)
                self.output_blocks.append(stage)

    def _stage(self, before: int, multiplier: int, level: int, embedding: int) -> Stage:
        after = multiplier * self.config.channels
        stage = Stage(ResidualBlock(before, after, embedding, self.config.groups))
        if level in self.config.attention_levels:
            stage.append(SelfAttention(after, self.config.head_channels, self.config.groups))
        return stage

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        embedding = self.time_embed(timestep_embedding(timesteps, self.config.channels))
        outputs = []
        for stage in self.input_blocks:
            x = stage(x, embedding)
            outputs.append(x)
        x = self.middle_block(x, embedding)
        for stage in self.output_blocks:
            x = stage(torch.cat([x, outputs.pop()], dim=1), embedding)
        predicted: Tensor = self.out(x)
        return predicted


def timestep_embedding(timesteps: Tensor, width: int) -> Tensor:
    """Return cosines and sines (B, width) of timesteps (B,) at wavelengths from 2 pi to 20000 pi. width: even."""
    half = width // 2
    frequencies = torch.exp(-math.log(10_000) / half * torch.arange(half, device=timesteps.device))
    angles = timesteps[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)
