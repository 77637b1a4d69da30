"""Degradation of photographs to low-quality images (Eq. 9), and export of these."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from django.db.models import QuerySet

from annotate.common import image_store
from annotate.common.batches import batches, in_chunks
from annotate.common.image_store import StoredImage, stored_image
from annotate.engine.interface import Engine, Opened, Rejected
from annotate.models import Candidate, Face
from annotate.pipeline.computing import each_result, load_or_reject, rejected
from annotate.pipeline.restoring import add_stored, exported_name, without
from annotate.pipeline.stage import Step
from refl.degradation import DegradeConfig, degrade, sample_parameters
from rewardlab.files import write_atomic


@dataclass(frozen=True)
class Photograph:
    """A row of `DegradeTask`: a face, its random seed and its hq image."""

    face: int
    size: int
    seed: int
    image: StoredImage


@dataclass(frozen=True)
class DegradeTask:
    """Degradation by Eq. 9. config: its parameter ranges, which scale with the face's size.

    A result is the sha256 of the stored lq image, and its provenance.
    """

    config: DegradeConfig

    def open(self) -> Opened:
        return Opened(lambda rows: [self._degrade(row) for row in rows])

    def _degrade(self, row: Photograph) -> tuple[str, dict] | Rejected:
        hq = load_or_reject(row.image)
        if isinstance(hq, Rejected):
            return hq
        scaled = self.config.scaled_to(row.size)
        parameters = sample_parameters(scaled, row.seed)
        sha256 = image_store.store_png(degrade(hq, parameters, scaled))
        return sha256, {"equation": 9, "parameters": asdict(parameters), "config": asdict(scaled)}


def degrade_faces(
    faces: QuerySet[Face], *, engine: Engine, config: DegradeConfig | None = None, batch_size: int = 8
) -> Iterator[Step]:
    """Degrade each face that has no lq image. config: parameter ranges (default: the paper's)."""
    engine.open(DegradeTask(config or DegradeConfig()))
    todo = in_chunks(without(Candidate.LQ, faces))
    for row, result in each_result(engine.map(map(_photographs, batches(todo, batch_size)))):
        if isinstance(result, Rejected):
            yield rejected(f"face {row.face}", result)
        else:
            sha256, provenance = result
            add_stored(row.face, Candidate.LQ, sha256, provenance=provenance)
            yield Step(done=1)


def _photographs(faces: Sequence[Face]) -> list[Photograph]:
    hq = {candidate.face_id: candidate for candidate in Candidate.objects.filter(face__in=faces, source=Candidate.HQ)}
    return [Photograph(face.pk, face.size, face.seed, stored_image(hq[face.pk])) for face in faces]


def export_lq(folder: Path) -> int:
    """Write every lq image as face-NUMBER.png for restorers that run elsewhere. Return the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    exported = 0
    for candidate in Candidate.objects.filter(source=Candidate.LQ).iterator():
        write_atomic(folder / f"{exported_name(candidate.face_id)}.png", image_store.read(candidate.sha256))
        exported += 1
    return exported
