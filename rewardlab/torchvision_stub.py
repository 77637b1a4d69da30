"""Makes torchvision importable with a CPU-only torch.

The torchvision on PyPI is compiled against CUDA. With a CPU build of torch its compiled operators cannot be loaded,
and ``import torchvision`` fails at the first operator for which it registers a fake. Declaring these operators
(signatures without kernels) is enough for the import; transforms and models are pure Python and work. Calling a
compiled operator still fails with torchvision's own message.
"""

import functools
import sys
from importlib.util import find_spec
from pathlib import Path

import torch

OPERATORS_NEEDED_AT_IMPORT = ("nms", "qnms")

_declared: list[torch.library.Library] = []  # a declaration exists as long as its Library object


@functools.cache
def ensure_torchvision() -> None:
    """Make ``import torchvision`` work; call before importing spandrel, lpips, torchmetrics or pyiqa.

    Idempotent; does nothing if torchvision can be imported without it. Raises `ImportError` if torchvision is not
    installed.
    """
    spec = find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("torchvision is not installed: pip install -r requirements.txt")
    if "torchvision" in sys.modules or _torch_is_built_for_a_gpu():
        return
    if not _compiled_operators_load(Path(spec.submodule_search_locations[0])):
        _declare_operators()


def _torch_is_built_for_a_gpu() -> bool:
    # On a GPU build, a torchvision that fails to load has the wrong version: its error must not be hidden.
    return bool(torch.version.cuda or torch.version.hip)


def _compiled_operators_load(folder: Path) -> bool:
    for library in (*folder.glob("_C*.so"), *folder.glob("_C*.pyd")):
        try:
            torch.ops.load_library(str(library))
        except OSError:
            continue
        return True
    return False


def _declare_operators() -> None:
    library = torch.library.Library("torchvision", "DEF")
    for name in OPERATORS_NEEDED_AT_IMPORT:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
