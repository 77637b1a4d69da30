"""Counts of what torch does: conversions, copies between devices, values read, bytes kept for backward passes."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Dispatched(TorchDispatchMode):
    """Counts operators, and among them conversions of dtype, copies between devices, and reads of a value."""

    def __init__(self) -> None:
        super().__init__()
        self.operators = self.conversions = self.copies = self.reads = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        name = str(function)
        self.operators += 1
        if name.startswith(("aten._to_copy", "aten.copy_")):
            target, source = (args[0], args[1]) if name.startswith("aten.copy_") else (found, args[0])
            self.conversions += target.dtype != source.dtype
            self.copies += target.device != source.device
        self.reads += name.startswith("aten._local_scalar_dense")
        return found


class SavedBytes:
    """Bytes that autograd keeps for backward passes: now, and the most at once."""

    def __init__(self) -> None:
        self.now = self.most = 0

    def counting(self) -> AbstractContextManager[Any]:
        counter = self

        class Saved:
            def __init__(self, tensor: Tensor) -> None:
                self.tensor = tensor
                counter.now += tensor.nbytes
                counter.most = max(counter.most, counter.now)

            def __del__(self) -> None:
                counter.now -= self.tensor.nbytes

        return torch.autograd.graph.saved_tensors_hooks(Saved, lambda saved: saved.tensor)
