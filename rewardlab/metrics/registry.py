"""Registry of metrics: the six of Sec. 3.1 that the SVM uses, and those that only evaluate restored faces.

The latter are those of Table 1; substitutes for them have their own names.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from rewardlab import assets

if TYPE_CHECKING:
    from torch import Tensor

    Measure = Callable[[Tensor, Tensor | None], Tensor]
    FullReferenceMeasure = Callable[[Tensor, Tensor], Tensor]
    CaptionMeasure = Callable[[Tensor, Sequence[str]], Tensor]
else:
    Measure = FullReferenceMeasure = CaptionMeasure = Callable


class LoadedMeasure(Protocol):
    """A metric as `load` returns it."""

    def __call__(
        self, images: "Tensor", reference: "Tensor | None" = None, captions: Sequence[str] | None = None
    ) -> "Tensor": ...


MAX_PSNR = 100.0

PYIQA_LICENCE = "PolyForm-Noncommercial-1.0.0 (pyiqa: non-commercial use only)"

OPTIONAL_REQUIREMENTS = {  # package -> its requirements file, if other than requirements.txt
    "pyiqa": "requirements-pyiqa.txt",
    "facexlib": "requirements-pyiqa.txt",
    "dlib-bin": "requirements-demo.txt",
}


class MetricUnavailable(RuntimeError):
    """A metric's package or weights are not on this machine; the message says what to do."""


class UndefinedMetric(ValueError):
    """A metric is undefined for these images (NIQE: too small or flat; landmarks: no face)."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Weights and packages that a metric needs on this machine, and its licence."""

    assets: tuple[str, ...] = ()  # names in rewardlab.assets
    requirement: str | None = None  # pip's name of the optional package
    modules: tuple[str, ...] = ()  # modules that must be importable
    licence: str = "Apache-2.0"


@dataclass(frozen=True)
class Metric(Needs):
    """A metric: its direction, its range (None: unbounded), and the function that builds it."""

    name: str
    title: str
    higher_is_better: bool
    low: float | None
    high: float | None
    needs_reference: bool
    builder: str  # module in this package: function(device) -> Measure, Full-Reference- or CaptionMeasure by its needs
    needs_caption: bool = False
    on_request: bool = False  # a variant of another metric: computed only where it is named

    def margin(self, first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how much better the first values are than the second, signed so that better is positive."""
        return first - second if self.higher_is_better else second - first


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
            "lpips_vgg", "LPIPS (VGG)", False, 0.0, None, True, "perceptual:build_lpips_vgg", on_request=True,
            assets=("lpips-vgg",), requirement="lpips", modules=("lpips",), licence="BSD-2-Clause",
        ),
        Metric(
            "psnr_corrected", "PSNR (dB, mean and variance corrected)", True, 0.0, MAX_PSNR, True,
            "fidelity:build_psnr_corrected", on_request=True,
        ),
        Metric(
            "ssim_corrected", "SSIM (mean and variance corrected)", True, -1.0, 1.0, True,
            "fidelity:build_ssim_corrected", on_request=True,
        ),
        Metric(
            "musiq", "MUSIQ (KonIQ-10k)", True, 0.0, 100.0, False, "pyiqa_networks:build_musiq",
            assets=("musiq",), requirement="pyiqa", modules=("pyiqa", "requests"), licence=PYIQA_LICENCE,
        ),
        Metric("niqe", "NIQE", False, 0.0, None, False, "niqe:build_niqe", assets=("niqe-pristine",)),
        Metric(
            "niqe_pyiqa", "NIQE (pyiqa's convention)", False, 0.0, None, False, "pyiqa_networks:build_niqe",
            on_request=True, assets=("niqe-pristine",), requirement="pyiqa", modules=("pyiqa", "requests"),
            licence=PYIQA_LICENCE,
        ),
        Metric(
            "clipiqa", "CLIP-IQA (RN50)", True, 0.0, 1.0, False, "pyiqa_networks:build_clipiqa",
            assets=("clip-rn50",), requirement="pyiqa", modules=("pyiqa", "requests", "clip", "ftfy"),
            licence=PYIQA_LICENCE,
        ),
        Metric(
            "sface", "SFace angle (degrees)", False, 0.0, 180.0, True, "identity:build_sface",
            assets=("yunet", "sface"),
        ),
        Metric(
            "arcface", "Deg. (ArcFace, degrees)", False, 0.0, 180.0, True, "arcface:build_arcface",
            assets=("arcface-resnet18",), licence="not stated by the weights' authors",
        ),
        Metric(
            "landmarks68", "landmark distance (68 points, px)", False, 0.0, None, True, "landmarks:build_landmarks68",
            assets=("yunet", "dlib-68"), requirement="dlib-bin", modules=("dlib",),
            licence="non-commercial use only (weights trained on iBUG 300-W)",
        ),
        Metric(
            "landmarks98", "LMD (98 points, px)", False, 0.0, None, True, "landmarks:build_landmarks98",
            assets=("awing-fan-98",), requirement="facexlib", modules=("facexlib",),
        ),
        Metric(
            "maniqa", "MANIQA (KonIQ-10k)", True, 0.0, None, False, "pyiqa_networks:build_maniqa",
            assets=("maniqa",), requirement="pyiqa", modules=("pyiqa", "requests"),
            licence=PYIQA_LICENCE,
        ),
        Metric(
            "clipscore", "CLIP Score (image to image, ViT-B/32)", True, -1.0, 1.0, True, "clip_images:build_clipscore",
            assets=("clip-vit-b32",), licence="MIT",
        ),
        Metric(
            "clipscore_text", "CLIP Score (image to caption, ViT-B/32)", True, 0.0, 2.5, False,
            "clip_images:build_clipscore_text", needs_caption=True, on_request=True,
            assets=("clip-vit-b32",), licence="MIT",
        ),
        Metric(
            "aesthetic_v1", "Aesthetic (LAION v1)", True, None, None, False, "clip_images:build_aesthetic_v1",
            on_request=True, assets=("clip-vit-l14", "laion-aesthetic-v1"), licence="MIT",
        ),
        Metric(
            "aesthetic", "Aesthetic (LAION v2)", True, None, None, False, "clip_images:build_aesthetic",
            assets=("clip-vit-l14", "laion-aesthetic-v2"),
        ),
    )
}  # fmt: skip

PAPER_METRICS = ("ssim", "psnr", "lpips", "musiq", "niqe", "clipiqa")  # the SVM's features, in this order (App. A.1)
DEFAULT_METRICS = tuple(name for name, metric in METRICS.items() if not metric.on_request)


def availability(name: str) -> str | None:
    """Return None if the metric can be computed here, else what to install or which file to put where."""
    metric = _known(name)
    return remedy(metric.title, metric)


def remedy(title: str, needs: Needs) -> str | None:
    """Return None if everything needed is on this machine, else what to do about the first missing part."""
    missing = [module for module in needs.modules if find_spec(module) is None]
    if missing:
        file = OPTIONAL_REQUIREMENTS.get(needs.requirement or "")
        return (
            f"{title} needs {needs.requirement} (not importable here: {', '.join(missing)}): "
            f"pip install {f'--no-deps -r {file}' if file else '-r requirements.txt'}"
        )
    for asset in needs.assets:
        try:
            assets.find(asset)
        except assets.MissingAsset as error:
            return f"{title}: {error}"
    return None


def load(name: str, device: str = "cpu") -> LoadedMeasure:
    """Return the function that measures float32 (B, 3, H, W) images in [0, 1]: float32 (B,) on the CPU.

    It takes the images, their references (same shape) and their captions; those that the metric does not need may be
    missing. It raises `ValueError` for another shape or range and `UndefinedMetric` if an image has no finite value.

    Raises `ValueError` for an unknown name and `MetricUnavailable` with the remedy.
    """
    metric = _known(name)
    if missing := availability(name):
        raise MetricUnavailable(missing)
    module, function = metric.builder.split(":")
    build: Callable[[str], Callable[..., Tensor]] = getattr(import_module(f"rewardlab.metrics.{module}"), function)
    return _checked(metric, build(device), device)


def _known(name: str) -> Metric:
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}: use one of {', '.join(METRICS)}")
    return METRICS[name]


def _checked(metric: Metric, measure: "Callable[..., Tensor]", device: str) -> LoadedMeasure:
    import torch

    @torch.no_grad()
    def run(images: "Tensor", reference: "Tensor | None" = None, captions: Sequence[str] | None = None) -> "Tensor":
        require_images(images)
        if metric.needs_caption and (captions is None or len(captions) != len(images)):
            raise ValueError(f"{metric.title} needs a caption for each image")
        if not metric.needs_reference:
            reference = None
        elif reference is None:
            raise ValueError(f"{metric.title} needs a reference image")
        elif reference.shape != images.shape:
            raise ValueError(f"images {tuple(images.shape)} and references {tuple(reference.shape)} differ in shape")
        else:
            require_images(reference)
            reference = reference.to(device)
        known = list(captions or ()) if metric.needs_caption else reference
        values = measure(images.to(device), known).flatten().float().cpu()
        if not values.isfinite().all():
            where = [index for index, value in enumerate(values.tolist()) if not abs(value) < float("inf")]
            raise UndefinedMetric(f"{metric.title} is not finite for images {where} of the batch")
        return values

    return run


def require_images(images: "Tensor") -> None:
    """Raise `ValueError` unless `images` is a float (B, 3, H, W) tensor in [0, 1]."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(f"a float (B, 3, H, W) tensor is needed, not {images.dtype} {tuple(images.shape)}")
    if images.numel() and not (images.min() >= 0 and images.max() <= 1):
        raise ValueError("image values must be in [0, 1]; clamp them first")
