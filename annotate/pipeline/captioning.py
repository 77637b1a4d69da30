"""Captioning of faces that have no caption (App. A.1)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from django.db.models import QuerySet

from annotate.common.batches import batches, in_chunks
from annotate.common.image_store import StoredImage, stored_image
from annotate.engine.interface import Engine, Opened, Rejected
from annotate.models import Candidate, Dataset, Face
from annotate.pipeline.candidates import BATCH
from annotate.pipeline.computing import each_result, load_or_reject, rejected
from annotate.pipeline.matching import match_files
from annotate.pipeline.sources import Found
from annotate.pipeline.stage import Step
from rewardlab import captions


@dataclass(frozen=True)
class Captionable:
    """A row of `CaptionTask`: a face, its five landmarks if they are known, and its picture."""

    face: int
    landmarks: list | None
    image: StoredImage


@dataclass(frozen=True)
class CaptionTask:
    """A captioner of `rewardlab.captions`. A result is the caption. model: of LLaVA, None for the default."""

    backend: Literal["template", "llava"] = "template"
    model: str | None = None
    device: str = "cpu"

    def open(self) -> Opened:
        captioner: captions.Captioner
        if self.backend == "llava":
            captioner = captions.LlavaCaptioner(self.model, self.device)
        else:
            captioner = captions.TemplateCaptioner()
        return Opened(lambda rows: _caption(captioner, rows))


def _caption(captioner: captions.Captioner, rows: Sequence[Captionable]) -> list[str | Rejected]:
    loaded = [load_or_reject(row.image) for row in rows]
    usable = [(row, image) for row, image in zip(rows, loaded, strict=True) if not isinstance(image, Rejected)]
    landmarks = [None if row.landmarks is None else np.array(row.landmarks) for row, _ in usable]
    found = iter(captioner.caption([image for _, image in usable], landmarks))
    return [image if isinstance(image, Rejected) else next(found) for image in loaded]


def caption_faces(faces: QuerySet[Face], *, engine: Engine, source: str, batch_size: int = 8) -> Iterator[Step]:
    """Caption faces on an engine that has opened a `CaptionTask`. Existing captions are kept.

    The caption of a face without an original describes its low-quality picture.
    """
    todo = in_chunks(faces.filter(caption="").order_by("pk"))
    rows = ([_captionable(face) for face in batch] for batch in batches(todo, batch_size))
    for row, result in each_result(engine.map(rows)):
        if isinstance(result, Rejected):
            yield rejected(f"face {row.face}", result)
        else:
            Face.objects.filter(pk=row.face, caption="").update(caption=result, caption_source=source)
            yield Step(done=1)


def _captionable(face: Face) -> Captionable:
    return Captionable(face.pk, face.landmarks, stored_image(_picture(face)))


def _picture(face: Face) -> Candidate:
    by_source = {candidate.source: candidate for candidate in face.candidates.filter(restorer=None)}
    return by_source.get(Candidate.HQ) or by_source[Candidate.LQ]


def captions_from(faces: QuerySet[Face], *, found: Found, dataset: Dataset | None) -> Iterator[Step]:
    """Take captions from a table or text files, matched by the photograph's path in its data set."""
    yield from (*found.unusable, *found.rows)
    captioned = {source.path: source for source in found.sources if source.caption}
    relative = {path: source.relative for path, source in captioned.items()}
    matches = match_files(relative, dataset=dataset, keeps_suffix=True)
    yield from (step for step in found.others if step.is_fault)
    yield from matches.steps
    for batch in batches(in_chunks(faces.filter(caption="").order_by("pk")), BATCH):
        matched = [face for face in batch if face.pk in matches.files]
        for face in matched:
            face.caption, face.caption_source = captioned[matches.files[face.pk]].caption, Face.CaptionSource.FILE
        Face.objects.bulk_update(matched, ["caption", "caption_source"])
        yield Step(done=len(matched))
        for face in batch:
            if face.pk not in matches.files and face.pk not in matches.refused:
                yield Step(skipped=str(face), reason="no_caption", detail="there is no caption for its photograph")
