"""Degradation of photographs to low-quality images (Eq. 9), and export of these."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from django.db.models import QuerySet

from annotate.common import image_store
from annotate.common.batches import in_chunks
from annotate.models import Candidate, Face
from annotate.pipeline.restoring import add_candidate, exported_name, without
from annotate.pipeline.stage import Step
from refl.degradation import DegradeConfig, degrade, sample_parameters
from rewardlab.files import write_atomic


def degrade_faces(faces: QuerySet[Face], *, config: DegradeConfig | None = None) -> Iterator[Step]:
    """Degrade each face that has no lq image. Parameter ranges (default: the paper's) scale with the face's size."""
    for face in in_chunks(without(Candidate.LQ, faces)):
        scaled = (config or DegradeConfig()).scaled_to(face.size)
        parameters = sample_parameters(scaled, face.seed)
        try:
            hq = image_store.load(face.candidates.get(source=Candidate.HQ))
        except image_store.BrokenImage as error:
            yield Step(skipped=str(face), reason="broken_image", detail=str(error))
            continue
        add_candidate(
            face,
            Candidate.LQ,
            degrade(hq, parameters, scaled),
            provenance={"equation": 9, "parameters": asdict(parameters), "config": asdict(scaled)},
        )
        yield Step(done=1)


def export_lq(folder: Path) -> int:
    """Write every lq image as face-NUMBER.png for restorers that run elsewhere. Return the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    exported = 0
    for candidate in Candidate.objects.filter(source=Candidate.LQ).iterator():
        write_atomic(folder / f"{exported_name(candidate.face_id)}.png", image_store.read(candidate.sha256))
        exported += 1
    return exported
