"""Faces without ground truth for Table 2 of the preset compact: degraded test faces whose photographs are withheld."""

from collections.abc import Iterator
from pathlib import Path

from django.conf import settings

from annotate.common import image_store
from annotate.models import Candidate, Dataset, Face
from annotate.models.faces import Split
from annotate.pipeline import ingest
from annotate.pipeline.sources import read_sources
from annotate.pipeline.stage import Step
from refl.degradation import PRESETS, degrade, sample_parameters
from rewardlab import images
from rewardlab.files import write_atomic

ANOTHER_SEED = 1 << 40  # the faces' own seeds made the images that are in the data set already


def ingest_wild(source: str, name: str) -> Iterator[Step]:
    """Degrade the test faces of data set `source` by Eq. 9 once more, and ingest them as data set `name`."""
    folder = Path(settings.DATA_ROOT) / name
    folder.mkdir(exist_ok=True)
    faces = Face.objects.filter(dataset__name=source, split=Split.TEST).order_by("pk")
    for face in faces:
        ranges = PRESETS["paper"].scaled_to(face.size)
        photograph = image_store.load(face.candidates.get(source=Candidate.HQ))
        degraded = degrade(photograph, sample_parameters(ranges, face.seed ^ ANOTHER_SEED), ranges)
        write_atomic(folder / f"{face.pk:06}.png", images.encode_png(degraded))
    known = faces.first()
    dataset, _ = Dataset.objects.get_or_create(
        name=name, defaults={"kind": Dataset.Kind.EVALUATION, "has_ground_truth": False}
    )
    config = ingest.IngestConfig(
        size=known.size if known else 128, aligned=True, shares={Split.TEST.value: 1.0}, is_low_quality=True
    )
    yield from ingest.ingest(read_sources(folder).sources, dataset=dataset, config=config)
