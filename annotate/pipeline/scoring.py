"""Metric scores of candidates. Full-reference metrics compare with the face's hq image."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from operator import or_
from typing import Any

from django.db.models import Count, Q, QuerySet

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

Measures = Mapping[str, metrics.LoadedMeasure]  # by the metric's name


@dataclass(frozen=True)
class Scorable:
    """A row of `ScoreTask`: a candidate's image, its face's photograph if a metric needs it, the caption, and the names
    of the metrics that it lacks."""

    candidate: int
    image: StoredImage
    reference: StoredImage | None
    caption: str
    wanted: frozenset[str]


@dataclass
class Measured:
    """The result of a row: values by metric, and why others have none."""

    values: dict[str, float] = field(default_factory=dict)
    faults: list[Rejected] = field(default_factory=list)


@dataclass(frozen=True)
class ScoreTask:
    """Metrics by name. Each image is decoded once for all. The info says which cannot be opened: name -> why."""

    names: tuple[str, ...]
    device: str = "cpu"

    def open(self) -> Opened:
        measures, faults = dict[str, metrics.LoadedMeasure](), dict[str, str]()
        for name in self.names:
            try:
                measures[name] = metrics.load(name, self.device)
            except ModelError as error:
                faults[name] = str(error)
        return Opened(lambda rows: _measure(measures, self.device, rows), faults)


@dataclass(frozen=True)
class _Loaded:
    row: Scorable
    image: images.Pixels
    reference: images.Pixels | None
    result: Measured


def _measure(measures: Measures, device: str, rows: Sequence[Scorable]) -> list[Measured]:
    """Measure images of one size."""
    read, results, loaded = cache(load_or_reject), [Measured() for _ in rows], dict[str, list[_Loaded]]()
    for row, result in zip(rows, results, strict=True):
        wanted = set(row.wanted)
        image, reference = read(row.image), read(row.reference) if row.reference else None
        if isinstance(reference, Rejected):
            result.faults.append(reference)
            wanted = {name for name in wanted if not METRICS[name].needs_reference}
            reference = None
        if isinstance(image, Rejected):
            result.faults.append(image)
            continue
        for name in wanted:
            loaded.setdefault(name, []).append(_Loaded(row, image, reference, result))
    for name, measure in measures.items():
        _measure_one(name, measure, device, loaded.get(name, []))
    return results


def _measure_one(name: str, measure: metrics.LoadedMeasure, device: str, loaded: Sequence[_Loaded]) -> None:
    if not loaded:
        return
    try:
        for one, value in zip(loaded, _values(name, measure, device, loaded), strict=True):
            one.result.values[name] = value
    except metrics.UndefinedMetric as error:
        # One undefined value fails the whole batch: measure images one by one to reject only those that fail.
        if len(loaded) == 1:
            loaded[0].result.faults.append(Rejected("undefined", str(error)))
            return
        for one in loaded:
            _measure_one(name, measure, device, [one])


def _values(name: str, measure: metrics.LoadedMeasure, device: str, loaded: Sequence[_Loaded]) -> list[float]:
    needed = [one.reference for one in loaded if one.reference is not None] if METRICS[name].needs_reference else []
    values: list[float] = measure(
        images.to_tensor([one.image for one in loaded]).to(device),
        images.to_tensor(needed).to(device) if needed else None,
        [one.row.caption for one in loaded],
    ).double().tolist()  # fmt: skip
    return values


def score_candidates(
    faces: QuerySet[Face], *, engine: Engine, names: Sequence[str], batch_size: int = 8, device: str = "cpu"
) -> Iterator[Step]:
    """Compute missing scores. A metric whose weights are missing is skipped, with the remedy.

    Each image is decoded once for all metrics. Metrics that need the photograph leave out faces without one.
    """
    wild, wanted = without_original(faces), list[str]()
    for name in dict.fromkeys(names):
        if METRICS[name].needs_reference and (face := wild.select_related("dataset").order_by("pk").first()):
            detail = refusal(face, METRICS[name].title)
            yield Step(skipped=of_sets(wild), reason="no_original", detail=detail, is_fault=False)
        if remedy := metrics.availability(name):
            yield Step(skipped=name, reason="unavailable", detail=remedy)
        elif unscored(faces, name).exists():
            wanted.append(name)
    faults = engine.open(ScoreTask(tuple(wanted), device)) if wanted else {}
    for name, detail in faults.items():
        yield Step(skipped=name, reason="damaged_weights", detail=detail)
    if not (usable := [name for name in wanted if name not in faults]):
        return
    missing = reduce(or_, (Q(pk__in=unscored(faces, name).order_by().values("pk")) for name in usable))
    todo = Candidate.objects.filter(missing).select_related("face").order_by("face__size", "face_id", "pk")
    yield from score_batches(_batches_of_one_size(todo, batch_size), engine, usable)


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


def _batches_of_one_size(todo: QuerySet[Candidate], batch_size: int) -> Iterator[list[Candidate]]:
    for batch in batches(in_chunks(todo), batch_size):
        for size in sorted({candidate.face.size for candidate in batch}):
            yield [candidate for candidate in batch if candidate.face.size == size]


def score_batches(candidates: Iterable[list[Candidate]], engine: Engine, names: Sequence[str]) -> Iterator[Step]:
    """Compute the missing scores of batches of candidates of one size, on an engine that has opened a `ScoreTask`.

    Those without what a metric needs are skipped: the photograph, or the caption.
    """
    refused: list[Step] = []
    wanted = (_scorable(batch, names, refused) for batch in candidates)
    for rows, results in engine.map(rows for rows in wanted if rows):
        yield from _taken(refused)
        scores = []
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, Rejected):
                yield rejected(row.image.name, result)
                continue
            scores += [Score(candidate_id=row.candidate, metric=name, value=one) for name, one in result.values.items()]
            yield from (rejected(row.image.name, fault) for fault in result.faults)
        Score.objects.bulk_create(scores, ignore_conflicts=True)
        yield Step(done=len(scores))
    yield from _taken(refused)


def _scorable(batch: list[Candidate], names: Sequence[str], refused: list[Step]) -> list[Scorable]:
    """Return the rows of a batch, and add steps for what cannot be computed."""
    needed = any(METRICS[name].needs_reference for name in names)
    faces = {candidate.face_id for candidate in batch} if needed else ()
    originals = {one.face_id: one for one in Candidate.objects.filter(face__in=faces, source=Candidate.HQ)}
    stored = Score.objects.filter(candidate__in=batch, metric__in=names).values_list("candidate_id", "metric")
    known = set(stored)
    rows = []
    for candidate in batch:
        wanted = {name for name in names if (candidate.pk, name) not in known}
        refused += _refused(candidate, wanted, originals)
        if not wanted:
            continue
        compared = any(METRICS[name].needs_reference for name in wanted)
        reference = stored_image(originals[candidate.face_id]) if compared else None
        rows.append(
            Scorable(candidate.pk, stored_image(candidate), reference, candidate.face.caption, frozenset(wanted))
        )
    return rows


def _refused(candidate: Candidate, wanted: set[str], originals: Mapping[int, Candidate]) -> Iterator[Step]:
    """Remove the metrics that cannot be computed of a candidate, and yield why."""
    for name in sorted(wanted):
        if METRICS[name].needs_caption and not candidate.face.caption:
            wanted.discard(name)
            yield Step(skipped=str(candidate), reason="no_caption", detail="the face has no caption: run caption")
        elif METRICS[name].needs_reference and candidate.face_id not in originals:
            wanted.discard(name)
            detail = refusal(candidate.face, METRICS[name].title)
            yield Step(skipped=str(candidate), reason="no_original", detail=detail)


def _taken(steps: list[Step]) -> list[Step]:
    """Empty the list and return what was in it."""
    taken = list(steps)
    steps.clear()
    return taken
