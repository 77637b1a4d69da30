"""Read the weights of an ncnn `.bin` file as a PyTorch state dict, without ncnn.

For every convolution, in network order, the file contains a 4-byte tag, the weights (out, in, height, width) in half
precision padded to 4 bytes or in single precision, and the biases in single precision. It does not contain shapes, so
the reader needs the list of layers.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from refl.errors import WeightsError

FLOAT16_TAG, FLOAT32_TAG = 0x01306B47, 0
ALIGNMENT = 4  # bytes

Shape = tuple[int, int, int, int]


def read_rrdbnet(
    path: Path, *, features: int = 64, growth: int = 32, blocks: int = 23, upsamplings: int = 2
) -> dict[str, Tensor]:
    """Return the state dict (float32, Real-ESRGAN's key names) of an RRDBNet. Defaults are the sizes of x4plus.

    Raises `WeightsError` unless the layers use every byte of the file.
    """
    return read_convolutions(path, dict(rrdbnet_layers(features, growth, blocks, upsamplings)))


def rrdbnet_layers(features: int, growth: int, blocks: int, upsamplings: int) -> Iterator[tuple[str, Shape]]:
    """Yield (name, weight shape) of each convolution, in the order of execution."""
    yield "conv_first", (features, 3, 3, 3)
    for block in range(blocks):
        for dense in range(1, 4):
            for conv in range(1, 6):
                outputs = features if conv == 5 else growth
                inputs = features + (conv - 1) * growth
                yield f"body.{block}.rdb{dense}.conv{conv}", (outputs, inputs, 3, 3)
    yield "conv_body", (features, features, 3, 3)
    for step in range(1, upsamplings + 1):
        yield f"conv_up{step}", (features, features, 3, 3)
    yield "conv_hr", (features, features, 3, 3)
    yield "conv_last", (3, features, 3, 3)


def read_convolutions(path: Path, layers: dict[str, Shape]) -> dict[str, Tensor]:
    """Return `<name>.weight` and `<name>.bias` (float32) of every layer. Raises `WeightsError`."""
    reader = _Reader(path)
    state = {}
    for name, shape in layers.items():
        state[f"{name}.weight"] = reader.weights(name, math.prod(shape)).reshape(shape)
        state[f"{name}.bias"] = reader.floats(name, shape[0])
    reader.expect_end()
    return state


class _Reader:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.data = path.read_bytes()
        self.position = 0

    def weights(self, layer: str, count: int) -> Tensor:
        tag_position = self.position
        (tag,) = struct.unpack("<I", self._take(layer, 4))
        if tag == FLOAT32_TAG:
            return self.floats(layer, count)
        if tag != FLOAT16_TAG:
            raise self._corrupt(
                f"layer {layer} at byte {tag_position} begins with {tag:#010x}, "
                f"neither half ({FLOAT16_TAG:#010x}) nor single precision ({FLOAT32_TAG:#010x})"
            )
        used = 2 * count
        stored = self._take(layer, used + -used % ALIGNMENT)
        return self._finite(layer, np.frombuffer(stored[:used], dtype="<f2"))

    def floats(self, layer: str, count: int) -> Tensor:
        return self._finite(layer, np.frombuffer(self._take(layer, 4 * count), dtype="<f4"))

    def expect_end(self) -> None:
        if self.position != len(self.data):
            raise self._corrupt(f"{len(self.data) - self.position} bytes follow the last layer")

    def _take(self, layer: str, count: int) -> bytes:
        taken = self.data[self.position : self.position + count]
        if len(taken) < count:
            raise self._corrupt(
                f"the file ends inside layer {layer}: {count} bytes expected at {self.position} of {len(self.data)}"
            )
        self.position += count
        return taken

    def _finite(self, layer: str, values: np.ndarray) -> Tensor:
        if not np.isfinite(values).all():
            raise self._corrupt(f"layer {layer} before byte {self.position} contains infinite values or NaN")
        return torch.from_numpy(values.astype(np.float32))

    def _corrupt(self, what: str) -> WeightsError:
        return WeightsError(f"{self.path}: {what}. The file is damaged or of another network. Download it again.")
