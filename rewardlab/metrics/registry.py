"""The table of metrics (the six of Sec. 3.1, in the order of the SVM's features) and the way to run one."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from rewardlab import assets

if TYPE_CHECKING:
    from torch import Tensor

    Measure = Callable[[Tensor, Tensor | None], Tensor]
else:
    Measure = Callable

MAX_PSNR = 100.0

PYIQA_LICENCE = "PolyForm-Noncommercial-1.0.0 (pyiqa: non-commercial use only)"


class MetricUnavailable(RuntimeError):
    """A metric's package or weights are not on this machine; the message is the remedy."""


class UndefinedMetric(ValueError):
    """A metric has no value for these images (for NIQE: too small, or flat)."""


@dataclass(frozen=True)
class Metric:
    name: str
    title: str
    higher_is_better: bool
    low: float | None
    high: float | None
    needs_reference: bool
    builder: str  # module in this package: function(device) -> Measure
    assets: tuple[str, ...] = ()  # names in rewardlab.assets
    requirement: str | None = None  # the optional package, as pip knows it
    modules: tuple[str, ...] = ()  # what must be importable for it
    licence: str = "Apache-2.0"


METRICS = {
    metric.name: metric
    for metric in (
        Metric("ssim", "SSIM", True, -1.0, 1.0, True, "fidelity:build_ssim"),
        Metric("psnr", "PSNR (dB)", True, 0.0, MAX_PSNR, True, "fidelity:build_psnr"),
        Metric(
            "lpips", "LPIPS (AlexNet)", False, 0.0, None, True, "perceptual:build_lpips",
            assets=("lpips-alex",), requirement="lpips", modules=("lpips",), licence="BSD-2-Clause",
        ),
        Metric(
            "musiq", "MUSIQ (KonIQ-10k)", True, 0.0, 100.0, False, "pyiqa_networks:build_musiq",
            assets=("musiq",), requirement="pyiqa", modules=("pyiqa", "requests"), licence=PYIQA_LICENCE,
        ),
        Metric("niqe", "NIQE", False, 0.0, None, False, "niqe:build_niqe", assets=("niqe-pristine",)),
        Metric(
            "clipiqa", "CLIP-IQA (RN50)", True, 0.0, 1.0, False, "pyiqa_networks:build_clipiqa",
            assets=("clip-rn50",), requirement="pyiqa", modules=("pyiqa", "requests", "clip", "ftfy"),
            licence=PYIQA_LICENCE,
        ),
    )
}  # fmt: skip

PAPER_METRICS = tuple(METRICS)


def availability(name: str) -> str | None:
    """None if the metric can run here, else what to install or where to put which file."""
    metric = _known(name)
    missing = [module for module in metric.modules if find_spec(module) is None]
    if missing:
        file = "requirements-pyiqa.txt" if metric.requirement == "pyiqa" else "requirements.txt"
        return (
            f"{metric.title} needs {metric.requirement} (not importable here: {', '.join(missing)}): "
            f"pip install {'--no-deps ' if metric.requirement == 'pyiqa' else ''}-r {file}"
        )
    for asset in metric.assets:
        try:
            assets.find(asset)
        except assets.MissingAsset as error:
            return f"{metric.title}: {error}"
    return None


def load(name: str, device: str = "cpu") -> Measure:
    """The function that measures float32 (B, 3, H, W) images in [0, 1]: float32 (B,) on the CPU.

    It takes the images and their references (same shape; None where the metric needs none) and raises
    `ValueError` for another shape or range, `UndefinedMetric` where an image has no finite value.

    Raises `ValueError` for an unknown name and `MetricUnavailable` with the remedy.
    """
    metric = _known(name)
    if remedy := availability(name):
        raise MetricUnavailable(remedy)
    module, function = metric.builder.split(":")
    build: Callable[[str], Measure] = getattr(import_module(f"rewardlab.metrics.{module}"), function)
    return _checked(metric, build(device), device)


def _known(name: str) -> Metric:
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; known are {', '.join(METRICS)}")
    return METRICS[name]


def _checked(metric: Metric, measure: Measure, device: str) -> Measure:
    import torch

    @torch.no_grad()
    def run(images: "Tensor", reference: "Tensor | None" = None) -> "Tensor":
        _require_images(images)
        if not metric.needs_reference:
            reference = None
        elif reference is None:
            raise ValueError(f"{metric.title} needs a reference image")
        elif reference.shape != images.shape:
            raise ValueError(f"images {tuple(images.shape)} and references {tuple(reference.shape)} differ in shape")
        else:
            _require_images(reference)
            reference = reference.to(device)
        values = measure(images.to(device), reference).flatten().float().cpu()
        if not values.isfinite().all():
            where = [index for index, value in enumerate(values.tolist()) if not abs(value) < float("inf")]
            raise UndefinedMetric(f"{metric.title} is not finite for the images {where} of the batch")
        return values

    return run


def _require_images(images: "Tensor") -> None:
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(f"a float (B, 3, H, W) tensor is needed, not {images.dtype} {tuple(images.shape)}")
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError("image values must lie in [0, 1]; clamp them first")
