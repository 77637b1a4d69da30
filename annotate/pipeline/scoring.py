"""Metric scores of candidates. Full-reference metrics compare with the face's hq image."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, QuerySet

from annotate.common.batches import batches, in_chunks
from annotate.common.image_store import StoredImage, stored_image
from annotate.engine.interface import Engine, Opened, Rejected
from annotate.models import Candidate, Face, Score
from annotate.pipeline.computing import load_or_reject, rejected
from annotate.pipeline.ground_truth import of_sets, refusal, with_original, without_original
from annotate.pipeline.stage import Step
from rewardlab import images, metrics
from rewardlab.errors import ModelError
from rewardlab.metrics.registry import METRICS, PAPER_METRICS


@dataclass(frozen=True)
class Scorable:
    """A row of `ScoreTask`: a candidate's image, its face's photograph if the metric needs it, and the caption."""

    candidate: int
    image: StoredImage
    reference: StoredImage | None
    caption: str


Loaded = tuple[Scorable, images.Pixels, images.Pixels | None]  # with its image and its face's photograph


@dataclass(frozen=True)
class ScoreTask:
    """A metric. A result is its value; images that are broken, or without a defined value, are rejected."""

    metric: str
    device: str = "cpu"

    def open(self) -> Opened:
        measure = metrics.load(self.metric, self.device)
        return Opened(lambda rows: _measure(measure, self.device, rows))


def _measure(measure: metrics.LoadedMeasure, device: str, rows: Sequence[Scorable]) -> list[float | Rejected]:
    """Measure images of one size."""
    loaded = [_load(row) for row in rows]
    usable = [one for one in loaded if not isinstance(one, Rejected)]
    values: Iterator[float | Rejected]
    try:
        values = iter(_values(measure, device, usable) if usable else [])
    except metrics.UndefinedMetric:
        # One undefined value fails the whole batch: measure images one by one to reject only those that fail.
        values = (_value(measure, device, one) for one in usable)
    return [one if isinstance(one, Rejected) else next(values) for one in loaded]


def _load(row: Scorable) -> Loaded | Rejected:
    reference = load_or_reject(row.reference) if row.reference else None
    if isinstance(reference, Rejected):
        return reference
    image = load_or_reject(row.image)
    return image if isinstance(image, Rejected) else (row, image, reference)


def _value(measure: metrics.LoadedMeasure, device: str, one: Loaded) -> float | Rejected:
    try:
        return _values(measure, device, [one])[0]
    except metrics.UndefinedMetric as error:
        return Rejected("undefined", str(error))


def _values(measure: metrics.LoadedMeasure, device: str, loaded: Sequence[Loaded]) -> list[float]:
    references = [reference for _, _, reference in loaded if reference is not None]
    values: list[float] = (
        measure(
            images.to_tensor([image for _, image, _ in loaded]).to(device),
            images.to_tensor(references).to(device) if references else None,
            [row.caption for row, _, _ in loaded],
        )
        .double()
        .tolist()
    )
    return values


def score_candidates(
    faces: QuerySet[Face], *, engine: Engine, names: Sequence[str], batch_size: int = 8, device: str = "cpu"
) -> Iterator[Step]:
    """Compute missing scores, metric by metric. A metric whose weights are missing is skipped, with the remedy.

    Metrics that need the photograph leave out faces without one.
    """
    wild = without_original(faces)
    for name in names:
        if METRICS[name].needs_reference and (face := wild.select_related("dataset").order_by("pk").first()):
            detail = refusal(face, METRICS[name].title)
            yield Step(skipped=of_sets(wild), reason="no_original", detail=detail, is_fault=False)
        if remedy := metrics.availability(name):
            yield Step(skipped=name, reason="unavailable", detail=remedy)
        else:
            yield from _score_metric(faces, engine, name, batch_size, device)


def metric_coverage() -> list[dict[str, Any]]:
    """Return the paper's six metrics, their numbers of scored and of all images in pairs, and what to do if one is
    unavailable."""
    in_pairs = Score.objects.exclude(candidate__source=Candidate.LQ)
    scored = dict(in_pairs.order_by().values_list("metric").annotate(Count("pk")))
    scorable = Candidate.objects.exclude(source=Candidate.LQ)
    wanted = scorable.count()
    with_reference = scorable.exclude(face__in=without_original(Face.objects.all())).count()
    return [
        {
            "metric": METRICS[name],
            "scored": scored.get(name, 0),
            "wanted": with_reference if METRICS[name].needs_reference else wanted,
            "remedy": metrics.availability(name),
        }
        for name in PAPER_METRICS
    ]


def unscored(faces: QuerySet[Face], name: str) -> QuerySet[Candidate]:
    """Select candidates without a score for this metric; lq is excluded, and faces without the photograph that it
    needs."""
    if METRICS[name].needs_reference:
        faces = with_original(faces)
    scored = Score.objects.filter(metric=name).values("candidate_id")
    return (
        Candidate.objects.filter(face__in=faces).exclude(source=Candidate.LQ).exclude(pk__in=scored)
        .select_related("face").order_by("face__size", "face_id", "pk")
    )  # fmt: skip


def _score_metric(faces: QuerySet[Face], engine: Engine, name: str, batch_size: int, device: str) -> Iterator[Step]:
    todo = unscored(faces, name)
    if not todo.exists():
        return
    try:
        engine.open(ScoreTask(name, device))
    except ModelError as error:
        yield Step(skipped=name, reason="damaged_weights", detail=str(error))
        return
    yield from score_batches(_batches_of_one_size(todo, batch_size), engine, name)


def _batches_of_one_size(todo: QuerySet[Candidate], batch_size: int) -> Iterator[list[Candidate]]:
    for batch in batches(in_chunks(todo), batch_size):
        for size in sorted({candidate.face.size for candidate in batch}):
            yield [candidate for candidate in batch if candidate.face.size == size]


def score_batches(candidates: Iterable[list[Candidate]], engine: Engine, name: str) -> Iterator[Step]:
    """Score batches of candidates of one size on an engine that has opened the metric's `ScoreTask`.

    Those without what the metric needs are skipped: the photograph, or the caption.
    """
    refused: list[Step] = []
    wanted = (_scorable(batch, name, refused) for batch in candidates)
    for rows, results in engine.map(rows for rows in wanted if rows):
        yield from _taken(refused)
        scored = list(zip(rows, results, strict=True))
        Score.objects.bulk_create(
            [
                Score(candidate_id=row.candidate, metric=name, value=value)
                for row, value in scored
                if not isinstance(value, Rejected)
            ],
            ignore_conflicts=True,
        )
        for row, value in scored:
            yield rejected(row.image.name, value) if isinstance(value, Rejected) else Step(done=1)
    yield from _taken(refused)


def _scorable(batch: list[Candidate], name: str, refused: list[Step]) -> list[Scorable]:
    """Return the rows of a batch, and add steps for candidates that are not scored."""
    metric = METRICS[name]
    faces = [candidate.face_id for candidate in batch] if metric.needs_reference else []
    originals = Candidate.objects.filter(face__in=faces, source=Candidate.HQ)
    references = {candidate.face_id: stored_image(candidate) for candidate in originals}
    rows = []
    for candidate in batch:
        if metric.needs_caption and not candidate.face.caption:
            detail = "the face has no caption: run caption"
            refused.append(Step(skipped=str(candidate), reason="no_caption", detail=detail))
        elif metric.needs_reference and candidate.face_id not in references:
            detail = refusal(candidate.face, metric.title)
            refused.append(Step(skipped=str(candidate), reason="no_original", detail=detail))
        else:
            reference = references.get(candidate.face_id)
            rows.append(Scorable(candidate.pk, stored_image(candidate), reference, candidate.face.caption))
    return rows


def _taken(steps: list[Step]) -> list[Step]:
    """Empty the list and return what was in it."""
    taken = list(steps)
    steps.clear()
    return taken
