"""Which pairs are worth a person's answer in the demo: those whose two images differ visibly."""

from collections.abc import Iterable
from functools import cache

import torch

from annotate.common import image_store
from annotate.models import Pair
from rewardlab import images, metrics

# LPIPS (AlexNet) between the two images. Below it, two restorations of the demo look the same at a glance: DAT-light
# and Lanczos upscaling have a median of .02 under heavy degradation, and .05 under light one.
VISIBLE = 0.04


def visible(pairs: Iterable[Pair]) -> list[int]:
    """Return the pairs that differ visibly; all of them where LPIPS is not available."""
    pairs = list(pairs)
    if metrics.availability("lpips"):
        return [pair.pk for pair in pairs]
    return [pair.pk for pair in pairs if _distance(pair) >= VISIBLE]


def _distance(pair: Pair) -> float:
    first, second = (_tensor(image_store.read(candidate.sha256)) for candidate in (pair.first, pair.second))
    with torch.inference_mode():
        return float(_lpips()(first, second))


def _tensor(data: bytes) -> torch.Tensor:
    return images.to_tensor([images.decode(data)])


@cache
def _lpips():
    return metrics.load("lpips")
