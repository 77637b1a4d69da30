"""Degradation of photographs to low-quality images (Eq. 9), and export of these."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from django.db.models import QuerySet

from annotate.common import image_store
from annotate.common.batches import batches, in_chunks
from annotate.common.image_store import StoredImage, stored_image
from annotate.common.parallel import in_threads
from annotate.engine.interface import Engine, Opened, Rejected
from annotate.models import Candidate, Face
from annotate.pipeline.candidates import BATCH, RowBuffer, images_of
from annotate.pipeline.computing import load_or_reject, rejected, store
from annotate.pipeline.restoring import exported_name, without
from annotate.pipeline.stage import Step
from refl.degradation import DegradeConfig, DegradeParameters, degrade, sample_parameters
from rewardlab.files import write_atomic
from rewardlab.images import Pixels


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

    A result is the stored lq image.
    """

    config: DegradeConfig

    def open(self) -> Opened:
        return Opened(lambda rows: store(list(in_threads(self._degrade, rows))))

    def _degrade(self, row: Photograph) -> Pixels | Rejected:
        hq = load_or_reject(row.image)
        return hq if isinstance(hq, Rejected) else degrade(hq, *self._drawn(row))

    def _drawn(self, row: Photograph) -> tuple[DegradeParameters, DegradeConfig]:
        scaled = self.config.scaled_to(row.size)
        return sample_parameters(scaled, row.seed), scaled

    def provenance(self, row: Photograph) -> dict:
        """Return what is stored with a lq image: Eq. 9's parameters, and the ranges they were drawn from."""
        parameters, scaled = self._drawn(row)
        return {"equation": 9, "parameters": asdict(parameters), "config": asdict(scaled)}


def degrade_faces(
    faces: QuerySet[Face], *, engine: Engine, config: DegradeConfig | None = None, batch_size: int = 32
) -> Iterator[Step]:
    """Degrade each face that has no lq image. config: parameter ranges (default: the paper's)."""
    task = DegradeTask(config or DegradeConfig())
    engine.open(task)
    todo = in_chunks(without(Candidate.LQ, faces))
    with RowBuffer() as buffer:
        for rows, results in engine.map(batches(_photographs(todo), batch_size)):
            new = []
            for row, result in zip(rows, results, strict=True):
                if isinstance(result, Rejected):
                    yield rejected(f"face {row.face}", result)
                else:
                    new.append(result.row(row.face, Candidate.LQ, provenance=task.provenance(row)))
            buffer.add(new)
            yield Step(done=len(new))


def _photographs(faces: Iterable[Face]) -> Iterator[Photograph]:
    for batch in batches(faces, BATCH):
        hq = images_of(batch, Candidate.HQ)
        for face in batch:
            yield Photograph(face.pk, face.size, face.seed, stored_image(hq[face.pk][Candidate.HQ]))


def export_lq(folder: Path) -> int:
    """Write every lq image as face-NUMBER.png for restorers that run elsewhere. Return the number of files."""
    folder.mkdir(parents=True, exist_ok=True)
    exported = 0
    for candidate in Candidate.objects.filter(source=Candidate.LQ).iterator():
        write_atomic(folder / f"{exported_name(candidate.face_id)}.png", image_store.read(candidate.sha256))
        exported += 1
    return exported
