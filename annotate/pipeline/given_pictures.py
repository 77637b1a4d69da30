"""Low-quality pictures that were not made here, such as those of CelebA-Test, as the degraded input of known faces."""

from collections.abc import Iterator
from pathlib import Path

from django.db.models import QuerySet

from annotate.common.batches import batches, in_chunks
from annotate.models import Candidate, Dataset, Face
from annotate.pipeline.candidates import BATCH, NewImage, Originals, add_files
from annotate.pipeline.folders import Listing, list_folder
from annotate.pipeline.ingest import GIVEN
from annotate.pipeline.matching import match_files
from annotate.pipeline.sources import SourceError, relative_path
from annotate.pipeline.stage import Step
from rewardlab import face_alignment, images


def add_given(folder: Path, *, dataset: Dataset) -> Iterator[Step]:
    """Store the low-quality picture of each face of a data set.

    A file belongs to the photograph with the same path in the data set, or with the same name. Its suffix may differ,
    and its size, from which it is resized. Raises `SourceError` if the folder does not exist or holds no pictures.
    """
    listing = check_given(folder)
    relative = {path: relative_path(path, folder) for path in listing.photographs}
    matches = match_files(relative, dataset=dataset, keeps_suffix=False)
    yield from listing.others
    yield from matches.steps
    for batch in batches(in_chunks(Face.objects.filter(dataset=dataset).order_by("pk")), BATCH):
        todo = [(face, matches.files[face.pk]) for face in batch if face.pk in matches.files]
        yield from add_files(todo, read=_read, refuse=_refuse)
        for face in batch:
            if face.pk not in matches.files and face.pk not in matches.refused:
                detail = f"{folder} has no low-quality picture named after its photograph"
                yield Step(skipped=str(face), reason="no_picture", detail=detail)


def check_given(folder: Path) -> Listing:
    """List the pictures of a folder. Raises `SourceError` if it does not exist or holds none."""
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a folder. --lq takes the folder of the low-quality pictures.")
    listing = list_folder(folder)
    if not listing.photographs:
        raise SourceError(f"No pictures found in {folder} or its subfolders.")
    return listing


def _read(face: Face, file: Path) -> NewImage | Step:
    try:
        array = images.read(file)
        fitted = face_alignment.fit_square(array, face.size, allow_upscale=True)
    except (images.ImageError, face_alignment.FaceError, OSError) as error:
        return Step(skipped=str(file), reason=getattr(error, "reason", "unreadable"), detail=str(error))
    provenance = {"degradation": GIVEN, "scale": round(face.size / array.shape[1], 4)}
    return NewImage(face, Candidate.LQ, fitted, provenance=provenance)


def _refuse(image: NewImage, file: Path, originals: Originals) -> Step | None:
    """Return the step for a picture that the face has already, or that is its photograph."""
    face = image.face
    if Candidate.HQ in originals.same:
        detail = f"it is the photograph of {face} itself: use the folder with the low-quality pictures"
        return Step(skipped=str(file), reason="identical_to_hq", detail=detail)
    if Candidate.LQ not in originals.present:
        return None
    if Candidate.LQ in originals.same:
        return Step(already=1)
    detail = f"{face} has another degraded image already, from which it may have been restored; this one is ignored"
    return Step(skipped=str(file), reason="other_lq", detail=detail)


def given(faces: QuerySet[Face]) -> QuerySet[Face]:
    """Select the faces whose low-quality picture was given."""
    return faces.filter(candidates__source=Candidate.LQ, candidates__provenance__degradation=GIVEN)
