"""Options that make a training faster on a GPU: compiled blocks, another memory format, rounded matrix products.

They change results in the last digits, so they are off by default and belong to the configuration of a run.
"""

import logging
from typing import Protocol

import torch
from torch import nn

# Transformer blocks of diffusers and of open_clip. They have few shapes, while each convolution would be compiled anew.
BLOCKS = ("BasicTransformerBlock", "ResidualAttentionBlock")
SHAPES = 64  # of one block: by resolution, precision, and with or without a gradient

log = logging.getLogger(__name__)


class Options(Protocol):
    @property
    def compile(self) -> bool: ...

    @property
    def channels_last(self) -> bool: ...

    @property
    def tf32(self) -> bool: ...


def apply(options: Options, *networks: nn.Module) -> None:
    """Apply the options of a run to this process and to its networks, which are on their device already."""
    allow_tf32(options.tf32)
    for network in networks:
        if options.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if options.compile and not sum(compile_blocks(network) for network in networks):
        log.warning("--compile has no effect: these networks have no transformer blocks.")


def allow_tf32(allowed: bool) -> None:
    """Set whether matrix products in float32 may round their inputs to TF32. Convolutions may by torch's default."""
    torch.backends.cuda.matmul.allow_tf32 = allowed


def compile_blocks(network: nn.Module, backend: str = "inductor", most: int | None = None) -> int:
    """Compile the transformer blocks at their first call. Return how many are compiled.

    backend: of torch.compile; inductor needs a C++ compiler on a CPU and Triton on a GPU. most: compile only the first.
    """
    blocks = [module for module in network.modules() if type(module).__name__ in BLOCKS][:most]
    if blocks:
        torch._dynamo.config.recompile_limit = SHAPES
    for block in blocks:
        block.compile(dynamic=False, backend=backend)
    return len(blocks)
