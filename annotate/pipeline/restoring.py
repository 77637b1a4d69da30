"""Restoration of lq images by networks, by a classical baseline, or from folders of results."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db.models import QuerySet

from annotate.common.batches import batches, in_chunks
from annotate.common.image_store import StoredImage, stored_image
from annotate.engine.interface import Engine, Opened, Rejected
from annotate.models import Candidate, Dataset, Face, Restorer
from annotate.pipeline.candidates import BATCH, NewImage, Originals, RowBuffer, add_files, images_of
from annotate.pipeline.computing import Written, load_or_reject, rejected, store
from annotate.pipeline.folders import list_folder
from annotate.pipeline.matching import match_files
from annotate.pipeline.sources import relative_path
from annotate.pipeline.stage import Step
from refl.restorers.spec import Restorer as OpenedRestorer
from refl.restorers.spec import Subject
from rewardlab import images

if TYPE_CHECKING:
    from torch import Tensor


class RestorerConflict(RuntimeError):
    """The name is too long, or taken by a restorer with different weights or parameters."""


LONGEST_NAME = Restorer._meta.get_field("name").max_length or 0


def without(source: str, faces: QuerySet[Face] | None = None) -> QuerySet[Face]:
    """Select faces without a candidate from this source."""
    faces = Face.objects.all() if faces is None else faces
    return faces.exclude(candidates__source=source).order_by("pk")


def register_restorer(name: str, *, kind: str, provenance: dict) -> Restorer:
    """Get or create the row of a restorer. Raises `RestorerConflict` if the name is taken by a different one."""
    if len(name) > LONGEST_NAME:  # SQLite would store it, PostgreSQL not
        raise RestorerConflict(
            f"The name “{name}” has {len(name)} characters, but a restorer's name has at most {LONGEST_NAME}. "
            "If it is a run, copy the run's folder under a shorter name."
        )
    row, created = Restorer.objects.get_or_create(name=name, defaults={"kind": kind, "provenance": provenance})
    # The same weights in a newer library version are the same restorer; the recorded version is the first one used.
    if not created and _comparable(row.provenance) != _comparable(provenance):
        raise RestorerConflict(
            f"The restorer “{name}” exists with different weights or parameters: "
            f"{row.provenance}, not {provenance}. Choose another name."
        )
    return row


def _comparable(provenance: dict) -> dict:
    """Leave out what may differ between uses of one restorer, such as the wording of its licence."""
    parameters = {name: value for name, value in provenance.get("parameters", {}).items() if name != "licence_accepted"}
    return {**provenance, "version": None, "licence": None, "parameters": parameters}


@dataclass(frozen=True)
class LowQuality:
    """A row of `RestoreTask`: a face and its lq image."""

    face: int
    caption: str
    image: StoredImage


@dataclass(frozen=True)
class RestoreTask:
    """Restoration of `LowQuality` rows. options: keyword arguments of `refl.restorers.open_restorer`.

    A result is the restored image, which is stored. The info is the restorer's name and provenance.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    def open(self) -> Opened:
        from refl.restorers import open_restorer

        restorer = open_restorer(self.name, **self.options)
        return Opened(lambda rows: _restore(restorer, rows), (restorer.name, restorer.provenance))


def _restore(restorer: OpenedRestorer, rows: Sequence[LowQuality]) -> list[Written | Rejected]:
    """Restore images of one size."""
    loaded = [load_or_reject(row.image) for row in rows]
    usable = [(row, lq) for row, lq in zip(rows, loaded, strict=True) if not isinstance(lq, Rejected)]
    if not usable:
        return [lq for lq in loaded if isinstance(lq, Rejected)]
    subjects = [Subject(row.face, row.caption) for row, _ in usable]
    restored = iter(restorer.restore(images.to_tensor([lq for _, lq in usable]), subjects))
    return store([lq if isinstance(lq, Rejected) else _pixels(restorer.name, next(restored)) for lq in loaded])


def _pixels(name: str, image: "Tensor") -> images.Pixels | Rejected:
    if not image.isfinite().all():
        return Rejected("not_finite", f"{name} returned values that are not finite")
    (array,) = images.to_arrays(image[None])
    return array


def restore_faces(
    faces: QuerySet[Face], *, engine: Engine, restorer: tuple[str, dict], batch_size: int = 4
) -> Iterator[Step]:
    """Restore the lq image of each face that has no result of this restorer yet.

    engine: has opened a `RestoreTask`, whose info is `restorer`.
    """
    name, provenance = restorer
    row = register_restorer(name, kind=provenance["kind"], provenance=provenance)
    todo = without(name, faces).filter(candidates__source=Candidate.LQ).distinct().order_by("size", "pk")
    with RowBuffer() as buffer:
        for batch, results in engine.map(_batches_of_one_size(todo, batch_size)):
            new = []
            for low_quality, result in zip(batch, results, strict=True):
                if isinstance(result, Rejected):
                    yield rejected(f"face {low_quality.face}", result)
                else:
                    new.append(result.row(low_quality.face, name, restorer=row, provenance={"restorer": name}))
            buffer.add(new)
            yield Step(done=len(new))


def _batches_of_one_size(todo: QuerySet[Face], batch_size: int) -> Iterator[list[LowQuality]]:
    """todo: in the order of the sizes."""
    for several in batches(in_chunks(todo), BATCH):
        lq = images_of(several, Candidate.LQ)
        for _size, of_size in groupby(several, key=lambda face: face.size):
            for batch in batches(of_size, batch_size):
                yield [LowQuality(face.pk, face.caption, stored_image(lq[face.pk][Candidate.LQ])) for face in batch]


def exported_name(face_id: int) -> str:
    """Return the name of a face's file in an export, without suffix."""
    return f"face-{face_id:06d}"


def number_of_exported(stem: str) -> int | None:
    """Return the face of a file's name that `exported_name` gave; None for any other name."""
    digits = stem.removeprefix("face-")
    return int(digits) if digits.isascii() and digits.isdecimal() and exported_name(int(digits)) == stem else None


def add_results(faces: QuerySet[Face], *, name: str, folder: Path, dataset: Dataset | None = None) -> Iterator[Step]:
    """Import results computed elsewhere from the lq images.

    Files of any image type are matched by the names that `export_lq` gave, or by the paths or names of the ingested
    photographs. dataset: whose photographs; needed if there are several.
    """
    row = register_restorer(name, kind=Restorer.Kind.FOLDER, provenance={"kind": "folder"})
    listing = list_folder(folder)
    relative = {path: relative_path(path, folder) for path in listing.photographs}
    matches = match_files(relative, dataset=dataset, keeps_suffix=False, number_of=number_of_exported)
    yield from listing.others
    yield from matches.steps
    for batch in batches(in_chunks(without(name, faces)), BATCH):
        todo = [(face, matches.files[face.pk]) for face in batch if face.pk in matches.files]
        yield from add_files(todo, read=partial(_read_result, row=row), refuse=_refuse_copy)
        for face in batch:
            if face.pk not in matches.files and face.pk not in matches.refused:
                detail = f"{folder} has no file named after this photograph"
                yield Step(skipped=str(face), reason="no_result", detail=detail)


def _read_result(face: Face, file: Path, *, row: Restorer) -> NewImage | Step:
    try:
        array = images.read(file)
    except (images.ImageError, OSError) as error:
        return Step(skipped=str(file), reason=getattr(error, "reason", "unreadable"), detail=str(error))
    if array.shape != (face.size, face.size, 3):
        height, width = array.shape[:2]
        detail = f"{width}x{height}, not {face.size}x{face.size}: restore the files written by degrade --export"
        return Step(skipped=str(file), reason="wrong_size", detail=detail)
    return NewImage(face, row.name, array, row, {"restorer": row.name})


def _refuse_copy(image: NewImage, file: Path, originals: Originals) -> Step | None:
    for source, what in ((Candidate.LQ, "degraded input"), (Candidate.HQ, "photograph")):
        if source in originals.same:
            detail = f"it is the {what} of {image.face} itself, not a restoration: use the folder with the results"
            return Step(skipped=str(file), reason=f"identical_to_{source}", detail=detail)
    return None
