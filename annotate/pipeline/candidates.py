"""Storage of new images of faces, a batch at a time: files first, flushed once, then all rows in one transaction."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db.models import QuerySet
from tqdm import tqdm

from annotate.common import image_store
from annotate.common.batches import batches, in_chunks
from annotate.common.parallel import in_threads
from annotate.models import Candidate, Face, Restorer
from annotate.pipeline.stage import Step
from rewardlab import images

BATCH = 256  # faces whose rows are read and written together
LONGEST_WAIT = 5.0  # seconds until rows are created that are fewer


@dataclass(frozen=True)
class NewImage:
    """An image that is not stored yet. array: uint8 (H, W, 3) RGB."""

    face: Face
    source: str
    array: images.Pixels
    restorer: Restorer | None = None
    provenance: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Originals:
    """Which of lq and hq a face has (`present`), and which of them show the same pixels as a new image (`same`)."""

    present: set[str]
    same: set[str]


def write_image(files: image_store.Batch, image: NewImage) -> Candidate:
    """Encode and write one image, from any thread. Return its row, to be created once the batch is finished."""
    return Candidate(
        face=image.face, source=image.source, sha256=files.add_png(image.array),
        pixels_sha256=images.pixels_sha256(image.array), restorer=image.restorer, provenance=image.provenance,
    )  # fmt: skip


def add_rows(new: Sequence[Candidate]) -> None:
    """Create the rows of images whose files are stored, each unless its face has one of this source already."""
    if not new:
        return
    hash_pixels(Candidate.objects.filter(face__in={row.face_id for row in new}))
    Candidate.objects.bulk_create(new, ignore_conflicts=True)


class RowBuffer:
    """Creates the rows of stored images together: `BATCH` at once, or what there is after some seconds.

    To be used in a `with` block, at whose end it creates the rest, even if the stage is interrupted.
    """

    def __init__(self) -> None:
        self.rows: list[Candidate] = []
        self.since = time.monotonic()

    def __enter__(self) -> "RowBuffer":
        return self

    def __exit__(self, *_: object) -> None:
        self._create()

    def add(self, rows: Sequence[Candidate]) -> None:
        self.rows += rows
        if len(self.rows) >= BATCH or time.monotonic() - self.since > LONGEST_WAIT:
            self._create()

    def _create(self) -> None:
        rows, self.rows, self.since = self.rows, [], time.monotonic()
        add_rows(rows)


def add_files(
    todo: Sequence[tuple[Face, Path]],
    *,
    read: Callable[[Face, Path], NewImage | Step],
    refuse: Callable[[NewImage, Path, Originals], Step | None],
) -> list[Step]:
    """Store an image of each face from a file, and return a step for each.

    read: decodes a file. refuse: returns the step for an image that must not be stored. Both run in threads.
    """
    hash_pixels(Candidate.objects.filter(face__in=[face.pk for face, _ in todo]))
    existing = images_of([face for face, _ in todo], Candidate.LQ, Candidate.HQ)

    def add(one: tuple[Face, Path]) -> Candidate | Step:
        face, file = one
        image = read(face, file)
        if isinstance(image, Step):
            return image
        pixels = images.pixels_sha256(image.array)
        same = {source for source, row in existing[face.pk].items() if row.pixels_sha256 == pixels}
        return refuse(image, file, Originals(set(existing[face.pk]), same)) or write_image(files, image)

    with image_store.Batch() as files:
        results = list(in_threads(add, todo))
        files.finish()
    add_rows([result for result in results if isinstance(result, Candidate)])
    return [result if isinstance(result, Step) else Step(done=1) for result in results]


def images_of(faces: Iterable[Face], *sources: str) -> dict[int, dict[str, Candidate]]:
    """Return face id -> source -> candidate, by one query. Without sources: all of them."""
    found: dict[int, dict[str, Candidate]] = {face.pk: {} for face in faces}
    candidates = Candidate.objects.filter(face__in=found)
    for candidate in candidates.filter(source__in=sources) if sources else candidates:
        found[candidate.face_id][candidate.source] = candidate
    return found


def hash_pixels(candidates: QuerySet[Candidate]) -> None:
    """Hash the pixels of images that versions before 0.3 stored, whose files are encoded otherwise than new ones.

    Call it before an image is compared with them. Broken images keep no hash: the stages that read them report them.
    """
    unknown = in_chunks(candidates.filter(pixels_sha256=None).order_by("pk"))
    shown = tqdm(unknown, "hashing the images of an earlier version", unit="", delay=2, leave=False, disable=None)
    for batch in batches(shown, BATCH):
        known = [one for one in in_threads(_hashed, batch) if one.pixels_sha256]
        photographs = Candidate.objects.filter(source=Candidate.HQ)
        hashes = [one.pixels_sha256 for one in known if one.source == Candidate.HQ]
        taken = set(photographs.filter(pixels_sha256__in=hashes).values_list("pixels_sha256", flat=True))
        unique = []
        for one in known:
            # Two photographs may have been stored twice, encoded by different versions: the first keeps the hash.
            if one.source != Candidate.HQ or one.pixels_sha256 not in taken:
                unique.append(one)
                taken.update([one.pixels_sha256] if one.source == Candidate.HQ else [])
        Candidate.objects.bulk_update(unique, ["pixels_sha256"])


def _hashed(candidate: Candidate) -> Candidate:
    try:
        candidate.pixels_sha256 = images.pixels_sha256(image_store.load(candidate))
    except (image_store.BrokenImage, images.ImageError):
        candidate.pixels_sha256 = None
    return candidate
