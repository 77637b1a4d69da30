"""Lets packages that import torchvision be imported beside a CPU-only torch.

The torchvision on PyPI is compiled against CUDA. Beside a CPU build of torch its compiled
operators cannot load, and ``import torchvision`` then stops at the first operator that it wants to
describe. Declaring those operators (their signatures, no kernels) is enough for the import;
transforms and models are plain Python and work. A call of a compiled operator still fails, with
torchvision's own message: nothing is imitated.
"""

import functools
import sys
from importlib.util import find_spec
from pathlib import Path

import torch

OPERATORS_WANTED_AT_IMPORT = ("nms", "qnms")

_declared: list[torch.library.Library] = []  # a declaration lives as long as its Library object


@functools.cache
def ensure_torchvision() -> None:
    """Make ``import torchvision`` safe; call before importing spandrel, lpips, torchmetrics or pyiqa.

    Idempotent; does nothing where torchvision imports natively. Raises `ImportError` if torchvision
    is not installed.
    """
    spec = find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("torchvision is not installed: pip install -r requirements.txt")
    if "torchvision" in sys.modules or _torch_is_built_for_a_gpu():
        return
    if not _compiled_operators_load(Path(spec.submodule_search_locations[0])):
        _declare_operators()


def _torch_is_built_for_a_gpu() -> bool:
    # There a torchvision that does not load is a wrong pair of versions, which must be seen.
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
    for name in OPERATORS_WANTED_AT_IMPORT:
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)
