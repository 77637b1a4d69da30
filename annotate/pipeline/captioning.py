"""Captioning of faces that have no caption (App. A.1)."""

from collections.abc import Iterator

import numpy as np
from django.db.models import QuerySet

from annotate.common import image_store
from annotate.common.batches import batches
from annotate.models import Candidate, Dataset, Face
from annotate.pipeline.candidates import BATCH
from annotate.pipeline.matching import match_files
from annotate.pipeline.sources import Found
from annotate.pipeline.stage import Step
from rewardlab.captions import Captioner


def caption_faces(faces: QuerySet[Face], *, captioner: Captioner, source: str, batch_size: int = 8) -> Iterator[Step]:
    """Caption faces with a captioner of `rewardlab.captions`. Existing captions are kept.

    The caption of a face without an original describes its low-quality picture.
    """
    for batch in batches(faces.filter(caption="").order_by("pk").iterator(chunk_size=200), batch_size):
        loaded = []
        for face in batch:
            try:
                loaded.append((face, image_store.load(_picture(face))))
            except image_store.BrokenImage as error:
                yield Step(skipped=str(face), reason="broken_image", detail=str(error))
        landmarks = [None if face.landmarks is None else np.array(face.landmarks) for face, _ in loaded]
        captions = captioner.caption([image for _, image in loaded], landmarks)
        for (face, _), caption in zip(loaded, captions, strict=True):
            Face.objects.filter(pk=face.pk, caption="").update(caption=caption, caption_source=source)
        yield Step(done=len(loaded))


def _picture(face: Face) -> Candidate:
    by_source = {candidate.source: candidate for candidate in face.candidates.filter(restorer=None)}
    return by_source.get(Candidate.HQ) or by_source[Candidate.LQ]


def captions_from(faces: QuerySet[Face], *, found: Found, dataset: Dataset | None) -> Iterator[Step]:
    """Take captions from a table or text files, matched by the photograph's path in its data set."""
    yield from (*found.unusable, *found.rows)
    captions = {source.path: source for source in found.sources if source.caption}
    relative = {path: source.relative for path, source in captions.items()}
    matches = match_files(relative, dataset=dataset, keeps_suffix=True)
    yield from (step for step in found.others if step.is_fault)
    yield from matches.steps
    for batch in batches(faces.filter(caption="").order_by("pk").iterator(chunk_size=BATCH), BATCH):
        captioned = [face for face in batch if face.pk in matches.files]
        for face in captioned:
            face.caption, face.caption_source = captions[matches.files[face.pk]].caption, Face.CaptionSource.FILE
        Face.objects.bulk_update(captioned, ["caption", "caption_source"])
        yield Step(done=len(captioned))
        for face in batch:
            if face.pk not in matches.files and face.pk not in matches.refused:
                yield Step(skipped=str(face), reason="no_caption", detail="there is no caption for its photograph")
