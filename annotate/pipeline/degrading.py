"""Degradation of photographs to low-quality images (Eq. 9), and export of these."""

from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

from django.db.models import QuerySet

from annotate.common import image_store
from annotate.common.batches import batches
from annotate.common.parallel import in_threads
from annotate.models import Candidate, Face
from annotate.pipeline.candidates import BATCH, NewImage, StoredImage, add_rows, images_of, write_image
from annotate.pipeline.restoring import exported_name, without
from annotate.pipeline.stage import Step
from refl.degradation import DegradeConfig, degrade, sample_parameters
from rewardlab.files import write_atomic


def degrade_faces(faces: QuerySet[Face], *, config: DegradeConfig | None = None) -> Iterator[Step]:
    """Degrade each face that has no lq image. Parameter ranges (default: the paper's) scale with the face's size."""
    ranges = config or DegradeConfig()
    for batch in batches(without(Candidate.LQ, faces).iterator(chunk_size=BATCH), BATCH):
        photographs = images_of(batch, Candidate.HQ)
        todo = [(face, photographs[face.pk][Candidate.HQ]) for face in batch]
        with image_store.Batch() as files:
            results = list(in_threads(partial(_degrade, ranges=ranges, files=files), todo))
            files.finish()
        written = [result for result in results if isinstance(result, StoredImage)]
        add_rows(written)
        yield from (result for result in results if isinstance(result, Step))
        yield Step(done=len(written))


def _degrade(one: tuple[Face, Candidate], *, ranges: DegradeConfig, files: image_store.Batch) -> StoredImage | Step:
    face, photograph = one
    scaled = ranges.scaled_to(face.size)
    parameters = sample_parameters(scaled, face.seed)
    try:
        hq = image_store.load(photograph)
    except image_store.BrokenImage as error:
        return Step(skipped=str(face), reason="broken_image", detail=str(error))
    provenance = {"equation": 9, "parameters": asdict(parameters), "config": asdict(scaled)}
    return write_image(files, NewImage(face, Candidate.LQ, degrade(hq, parameters, scaled), provenance=provenance))


def export_lq(folder: Path) -> int:
    """Write every lq image as face-NUMBER.png for restorers that run elsewhere. Return the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    exported = 0
    for candidate in Candidate.objects.filter(source=Candidate.LQ).iterator():
        write_atomic(folder / f"{exported_name(candidate.face_id)}.png", image_store.read(candidate.sha256))
        exported += 1
    return exported
