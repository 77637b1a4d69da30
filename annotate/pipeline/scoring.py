"""Metric scores of candidates. Full-reference metrics compare with the face's hq image."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from operator import or_
from typing import Any

from django.db.models import Count, Q, QuerySet

from annotate.common import image_store
from annotate.common.batches import batches
from annotate.models import Candidate, Face, Score
from annotate.pipeline.ground_truth import of_sets, refusal, with_original, without_original
from annotate.pipeline.stage import Step
from rewardlab import images, metrics
from rewardlab.errors import ModelError
from rewardlab.metrics.registry import METRICS, PAPER_METRICS

Measures = Mapping[str, metrics.LoadedMeasure]  # by the metric's name


def score_candidates(
    faces: QuerySet[Face], *, names: Sequence[str], batch_size: int = 8, device: str = "cpu"
) -> Iterator[Step]:
    """Compute missing scores. A metric whose weights are missing is skipped, with the remedy.

    Each image is decoded once for all metrics. Metrics that need the photograph leave out faces without one.
    """
    wild, measures = without_original(faces), dict[str, metrics.LoadedMeasure]()
    for name in dict.fromkeys(names):
        if METRICS[name].needs_reference and (face := wild.select_related("dataset").order_by("pk").first()):
            detail = refusal(face, METRICS[name].title)
            yield Step(skipped=of_sets(wild), reason="no_original", detail=detail, is_fault=False)
        if remedy := metrics.availability(name):
            yield Step(skipped=name, reason="unavailable", detail=remedy)
        elif unscored(faces, name).exists():
            try:
                measures[name] = metrics.load(name, device)
            except ModelError as error:
                yield Step(skipped=name, reason="damaged_weights", detail=str(error))
    if not measures:
        return
    missing = reduce(or_, (Q(pk__in=unscored(faces, name).order_by().values("pk")) for name in measures))
    todo = Candidate.objects.filter(missing).select_related("face").order_by("face__size", "face_id", "pk")
    for batch in batches(todo.iterator(chunk_size=200), batch_size):
        for size in sorted({candidate.face.size for candidate in batch}):
            yield from score_batch([c for c in batch if c.face.size == size], measures, device)


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


@dataclass(frozen=True)
class _Loaded:
    """A candidate with its image, its face's photograph if a metric needs it, and the metrics that it lacks."""

    candidate: Candidate
    image: images.Pixels
    reference: images.Pixels | None
    wanted: set[str]


def score_batch(batch: Sequence[Candidate], measures: Measures, device: str) -> Iterator[Step]:
    """Compute the missing scores of candidates of one size, each of which is decoded once for all metrics.

    Images that are broken, or without a defined value, are skipped, and for a metric that compares with captions, those
    of faces without one.
    """
    loaded = list[_Loaded]()
    originals, read = _originals(batch, measures), cache(image_store.load)
    for candidate, wanted in zip(batch, _wanted(batch, measures), strict=True):
        yield from _refused(candidate, wanted, originals)
        compared = {name for name in wanted if METRICS[name].needs_reference}
        reference = None
        try:
            if compared:
                reference = read(originals[candidate.face_id])
        except image_store.BrokenImage as error:
            wanted -= compared
            yield Step(skipped=str(candidate), reason="broken_image", detail=str(error))
        try:
            if wanted:
                loaded.append(_Loaded(candidate, read(candidate), reference, wanted))
        except image_store.BrokenImage as error:
            yield Step(skipped=str(candidate), reason="broken_image", detail=str(error))
    scores = list[Score]()
    for name, measure in measures.items():
        for one, value in _measured([one for one in loaded if name in one.wanted], name, measure, device):
            if isinstance(value, float):
                scores.append(Score(candidate=one.candidate, metric=name, value=value))
            else:
                yield Step(skipped=str(one.candidate), reason="undefined", detail=value)
    Score.objects.bulk_create(scores, ignore_conflicts=True)
    yield Step(done=len(scores))


def _originals(batch: Sequence[Candidate], measures: Measures) -> dict[int, Candidate]:
    """Return face id -> photograph."""
    needed = any(METRICS[name].needs_reference for name in measures)
    faces = {candidate.face_id for candidate in batch} if needed else ()
    found = Candidate.objects.filter(face__in=faces, source=Candidate.HQ)
    return {candidate.face_id: candidate for candidate in found}


def _wanted(batch: Sequence[Candidate], measures: Measures) -> list[set[str]]:
    """Return the metrics that each candidate lacks."""
    stored = Score.objects.filter(candidate__in=batch, metric__in=measures).values_list("candidate_id", "metric")
    known = set(stored)
    return [{name for name in measures if (candidate.pk, name) not in known} for candidate in batch]


def _refused(candidate: Candidate, wanted: set[str], originals: dict[int, Candidate]) -> Iterator[Step]:
    """Remove the metrics that cannot be computed of a candidate, and yield why."""
    for name in sorted(wanted):
        if METRICS[name].needs_caption and not candidate.face.caption:
            wanted.discard(name)
            yield Step(skipped=str(candidate), reason="no_caption", detail="the face has no caption: run caption")
        elif METRICS[name].needs_reference and candidate.face_id not in originals:
            wanted.discard(name)
            detail = refusal(candidate.face, METRICS[name].title)
            yield Step(skipped=str(candidate), reason="no_original", detail=detail)


def _measured(
    loaded: list[_Loaded], name: str, measure: metrics.LoadedMeasure, device: str
) -> Iterator[tuple[_Loaded, float | str]]:
    """Yield the value of each image, or why it has none."""
    if not loaded:
        return
    try:
        yield from zip(loaded, _values(loaded, name, measure, device), strict=True)
    except metrics.UndefinedMetric:
        # One undefined value fails the whole batch: measure images one by one to report only those that fail.
        for one in loaded:
            try:
                yield one, _values([one], name, measure, device)[0]
            except metrics.UndefinedMetric as error:
                yield one, str(error)


def _values(loaded: list[_Loaded], name: str, measure: metrics.LoadedMeasure, device: str) -> list[float]:
    needed = [one.reference for one in loaded if one.reference is not None] if METRICS[name].needs_reference else []
    values: list[float] = measure(
        images.to_tensor([one.image for one in loaded]).to(device),
        images.to_tensor(needed).to(device) if needed else None,
        [one.candidate.face.caption for one in loaded],
    ).double().tolist()  # fmt: skip
    return values
