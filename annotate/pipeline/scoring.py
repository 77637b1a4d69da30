"""Metric scores of candidates. Full-reference metrics compare with the face's hq image."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import Count, QuerySet

from annotate.common import image_store
from annotate.common.batches import batches, in_chunks
from annotate.models import Candidate, Face, Score
from annotate.pipeline.ground_truth import of_sets, refusal, with_original, without_original
from annotate.pipeline.stage import Step
from rewardlab import images, metrics
from rewardlab.errors import ModelError
from rewardlab.metrics.registry import METRICS, PAPER_METRICS

Loaded = tuple[Candidate, images.Pixels, images.Pixels | None]  # a candidate, its image, its face's photograph


def score_candidates(
    faces: QuerySet[Face], *, names: Sequence[str], batch_size: int = 8, device: str = "cpu"
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
            yield from _score_metric(faces, name, batch_size, device)


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


def _score_metric(faces: QuerySet[Face], name: str, batch_size: int, device: str) -> Iterator[Step]:
    todo = unscored(faces, name)
    if not todo.exists():
        return
    try:
        measure = metrics.load(name, device)
    except ModelError as error:
        yield Step(skipped=name, reason="damaged_weights", detail=str(error))
        return
    for batch in batches(in_chunks(todo), batch_size):
        for size in sorted({candidate.face.size for candidate in batch}):
            yield from score_batch([c for c in batch if c.face.size == size], name, measure, device)


def score_batch(batch: list[Candidate], name: str, measure: metrics.LoadedMeasure, device: str) -> Iterator[Step]:
    """Score candidates of one size. Images that are broken, or without a defined value, are skipped, and for a metric
    that compares with captions, those of faces without one."""
    if METRICS[name].needs_caption:
        for candidate in batch:
            if not candidate.face.caption:
                yield Step(skipped=str(candidate), reason="no_caption", detail="the face has no caption: run caption")
        batch = [candidate for candidate in batch if candidate.face.caption]
    needs_reference = METRICS[name].needs_reference
    faces = [candidate.face_id for candidate in batch] if needs_reference else []
    originals = Candidate.objects.filter(face__in=faces, source=Candidate.HQ)
    references = {candidate.face_id: candidate for candidate in originals}
    loaded: list[Loaded] = []
    for candidate in batch:
        if needs_reference and candidate.face_id not in references:
            detail = refusal(candidate.face, METRICS[name].title)
            yield Step(skipped=str(candidate), reason="no_original", detail=detail)
            continue
        try:
            reference = image_store.load(references[candidate.face_id]) if needs_reference else None
            loaded.append((candidate, image_store.load(candidate), reference))
        except image_store.BrokenImage as error:
            yield Step(skipped=str(candidate), reason="broken_image", detail=str(error))
    try:
        yield _store(loaded, name, measure, device)
    except metrics.UndefinedMetric:
        # One undefined value fails the whole batch: measure images one by one to report only those that fail.
        for one in loaded:
            try:
                yield _store([one], name, measure, device)
            except metrics.UndefinedMetric as error:
                yield Step(skipped=str(one[0]), reason="undefined", detail=str(error))


def _store(loaded: list[Loaded], name: str, measure: metrics.LoadedMeasure, device: str) -> Step:
    if not loaded:
        return Step()
    references = [reference for _, _, reference in loaded if reference is not None]
    values = measure(
        images.to_tensor([image for _, image, _ in loaded]).to(device),
        images.to_tensor(references).to(device) if references else None,
        [candidate.face.caption for candidate, _, _ in loaded],
    )
    Score.objects.bulk_create(
        [
            Score(candidate=candidate, metric=name, value=value)
            for (candidate, _, _), value in zip(loaded, values.double().tolist(), strict=True)
        ],
        ignore_conflicts=True,
    )
    return Step(done=len(loaded))
