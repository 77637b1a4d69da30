"""What stages share that compute on an engine: images that workers load, and results that the driver reads."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from annotate.common import image_store
from annotate.common.parallel import in_threads
from annotate.engine.interface import Batch, Rejected
from annotate.models import Candidate
from annotate.pipeline.stage import Step
from rewardlab import images
from rewardlab.images import Pixels


def load_or_reject(image: image_store.StoredImage) -> Pixels | Rejected:
    try:
        return image_store.load(image)
    except image_store.BrokenImage as error:
        return Rejected("broken_image", str(error))


@dataclass(frozen=True)
class Written:
    """An image that a worker has stored, without its row."""

    sha256: str
    pixels_sha256: str

    def row(self, face: int, source: str, **fields: Any) -> Candidate:
        return Candidate(face_id=face, source=source, sha256=self.sha256, pixels_sha256=self.pixels_sha256, **fields)


def store(arrays: Sequence[Pixels | Rejected]) -> list[Written | Rejected]:
    """Store the images of a batch, uint8 (H, W, 3) RGB, flushed to disk together."""

    def write(array: Pixels | Rejected) -> Written | Rejected:
        return array if isinstance(array, Rejected) else Written(files.add_png(array), images.pixels_sha256(array))

    with image_store.Batch() as files:
        found = list(in_threads(write, arrays))
        files.finish()
    return found


def each_result(mapped: Iterable[tuple[Batch, Sequence[Any]]]) -> Iterator[tuple[Any, Any]]:
    """Yield each row with its result."""
    for rows, results in mapped:
        yield from zip(rows, results, strict=True)


def rejected(what: str, result: Rejected) -> Step:
    """Return the step of a row without a result."""
    return Step(skipped=what, reason=result.reason, detail=result.detail)
