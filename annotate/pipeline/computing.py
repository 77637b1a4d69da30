"""What stages share that compute on an engine: images that workers load, and results that the driver reads."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from annotate.common import image_store
from annotate.engine.interface import Batch, Rejected
from annotate.pipeline.stage import Step
from rewardlab.images import Pixels


def load_or_reject(image: image_store.StoredImage) -> Pixels | Rejected:
    try:
        return image_store.load(image)
    except image_store.BrokenImage as error:
        return Rejected("broken_image", str(error))


def each_result(mapped: Iterable[tuple[Batch, Sequence[Any]]]) -> Iterator[tuple[Any, Any]]:
    """Yield each row with its result."""
    for rows, results in mapped:
        yield from zip(rows, results, strict=True)


def rejected(what: str, result: Rejected) -> Step:
    """Return the step of a row without a result."""
    return Step(skipped=what, reason=result.reason, detail=result.detail)
