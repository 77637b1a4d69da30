"""Restoration of lq images by networks, by a classical baseline, or from folders of results."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from django.db.models import QuerySet
from numpy.typing import NDArray

from annotate.common import image_store, pseudonyms
from annotate.common.batches import batches
from annotate.models import Candidate, Face, Restorer
from annotate.pipeline.sources import IMAGE_SUFFIXES
from annotate.pipeline.stage import Step
from refl.restorers.spec import Restorer as OpenedRestorer
from refl.restorers.spec import Subject
from rewardlab import images


class RestorerConflict(RuntimeError):
    """The name is taken by a restorer with different weights or parameters."""


def without(source: str, faces: QuerySet[Face] | None = None) -> QuerySet[Face]:
    """Select faces without a candidate from this source."""
    faces = Face.objects.all() if faces is None else faces
    return faces.exclude(candidates__source=source).order_by("pk")


def register_restorer(name: str, *, kind: str, provenance: dict) -> Restorer:
    """Get or create the row of a restorer. Raises `RestorerConflict` if the name is taken by a different one."""
    row, created = Restorer.objects.get_or_create(name=name, defaults={"kind": kind, "provenance": provenance})
    # The same weights in a newer library version are the same restorer; the recorded version is the first one used.
    if not created and {**row.provenance, "version": None} != {**provenance, "version": None}:
        raise RestorerConflict(
            f"The restorer “{name}” exists with different weights or parameters: "
            f"{row.provenance}, not {provenance}. Choose another name."
        )
    return row


def restore_faces(faces: QuerySet[Face], *, restorer: OpenedRestorer, batch_size: int = 4) -> Iterator[Step]:
    """Restore the lq image of each face that has no result of this opened restorer (`refl.restorers.Restorer`) yet."""
    row = register_restorer(restorer.name, kind=restorer.provenance["kind"], provenance=restorer.provenance)
    todo = without(restorer.name, faces).filter(candidates__source=Candidate.LQ).distinct()
    # Images of one size share a batch.
    for batch in batches(todo.order_by("size", "pk").iterator(chunk_size=200), batch_size):
        for size in sorted({face.size for face in batch}):
            yield from _restore_batch([face for face in batch if face.size == size], restorer, row)


def _restore_batch(batch: Sequence[Face], restorer: OpenedRestorer, row: Restorer) -> Iterator[Step]:
    loaded: list[tuple[Face, NDArray[np.uint8]]] = []
    for face in batch:
        try:
            loaded.append((face, image_store.load(face.candidates.get(source=Candidate.LQ))))
        except image_store.BrokenImage as error:
            yield Step(skipped=str(face), reason="broken_image", detail=str(error))
    if not loaded:
        return
    restored = images.to_arrays(
        restorer.restore(
            images.to_tensor([lq for _, lq in loaded]), [Subject(face.pk, face.caption) for face, _ in loaded]
        )
    )
    for (face, _), array in zip(loaded, restored, strict=True):
        add_candidate(face, row.name, array, restorer=row, provenance={"restorer": row.name})
    yield Step(done=len(loaded))


def exported_name(face_id: int) -> str:
    """Return the name of a face's file in an export, without suffix."""
    return f"face-{face_id:06d}"


def add_results(faces: QuerySet[Face], *, name: str, folder: Path) -> Iterator[Step]:
    """Import results computed elsewhere from the lq images.

    Files of any image type are matched by the names that `export_lq` gave or by the names of the ingested photographs.
    """
    row = register_restorer(name, kind=Restorer.Kind.FOLDER, provenance={"kind": "folder"})
    files = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in IMAGE_SUFFIXES]
    results = {file.stem: file for file in files} | {pseudonyms.hashed(file.stem): file for file in files}
    for face in without(name, faces).iterator(chunk_size=200):
        file = results.get(exported_name(face.pk)) or results.get(face.source_key)
        if file is None:
            yield Step(
                skipped=str(face),
                reason="no_result",
                detail=f"{folder} has no file named after this photograph",
            )
            continue
        try:
            array = images.decode(file.read_bytes())
        except (images.ImageError, OSError) as error:
            yield Step(skipped=str(file), reason=getattr(error, "reason", "unreadable"), detail=str(error))
            continue
        if array.shape != (face.size, face.size, 3):
            height, width = array.shape[:2]
            yield Step(
                skipped=str(file),
                reason="wrong_size",
                detail=f"{width}x{height}, not {face.size}x{face.size}: restore the files written by degrade --export",
            )
            continue
        add_candidate(face, name, array, restorer=row, provenance={"restorer": name})
        yield Step(done=1)


def add_candidate(
    face: Face, source: str, array: NDArray[np.uint8], *, provenance: dict, restorer: Restorer | None = None
) -> None:
    """Store an image as a face's candidate unless the face already has one from this source."""
    Candidate.objects.get_or_create(
        face=face,
        source=source,
        defaults={"sha256": image_store.store_png(array), "restorer": restorer, "provenance": provenance},
    )
