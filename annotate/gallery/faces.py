"""Which faces the gallery shows, with all their images. The number of queries does not depend on the filter."""

from dataclasses import dataclass, field

from django.db.models import Count, Exists, OuterRef, Q, QuerySet

from annotate.models import AutoLabel, Candidate, Face, Lease, Pair, Score
from annotate.predictor import status

PAGE = 24
# An SVM's probability between these is called uncertain.
UNCERTAIN = (0.4, 0.6)


@dataclass(frozen=True)
class FaceFilter:
    """dataset, split, restorer, metric: names, or empty for all. low, high: bounds of the metric's value.

    disputed: annotators gave different answers to one of the face's pairs. uncertain: the SVM is, about one of them.
    """

    dataset: str = ""
    split: str = ""
    restorer: str = ""
    metric: str = ""
    low: float | None = None
    high: float | None = None
    disputed: bool = False
    uncertain: bool = False

    def select(self) -> QuerySet[Face]:
        faces = Face.objects.all()
        if self.dataset:
            faces = faces.filter(dataset__name=self.dataset)
        if self.split:
            faces = faces.filter(split=self.split)
        if self.restorer or self.metric:
            faces = faces.filter(Exists(self._images().filter(face=OuterRef("pk"))))
        if self.disputed:
            faces = faces.filter(pk__in=disputed_pairs().values("item__pair__face"))
        if self.uncertain:
            labels = AutoLabel.objects.filter(predictor=status.current_predictor(), p_first__range=UNCERTAIN)
            faces = faces.filter(pk__in=labels.values("pair__face"))
        return faces

    def _images(self) -> QuerySet[Candidate]:
        """Restorations with the restorer's name and a score between the bounds."""
        images = Candidate.objects.filter(restorer__isnull=False)
        if self.restorer:
            images = images.filter(source=self.restorer)
        if self.metric:
            bounds = Q(metric=self.metric)
            if self.low is not None:
                bounds &= Q(value__gte=self.low)
            if self.high is not None:
                bounds &= Q(value__lte=self.high)
            images = images.filter(Exists(Score.objects.filter(bounds, candidate=OuterRef("pk"))))
        return images


def disputed_pairs() -> QuerySet:
    """Select pairs, as `item__pair`, to which annotators gave different answers."""
    answered = Lease.objects.filter(status=Lease.Status.ANSWERED, is_repeat=False, item__question="preference")
    people = answered if status.counts_simulated() else answered.filter(annotator__simulated=False)
    opinions = Count("judgement__choice", distinct=True)
    return people.values("item__pair", "item__pair__face").annotate(opinions=opinions).filter(opinions__gt=1)


@dataclass
class Image:
    """A candidate with its scores by metric."""

    candidate: Candidate
    scores: dict[str, float] = field(default_factory=dict)
    shown_score: float | None = None


@dataclass(frozen=True)
class FaceRow:
    face: Face
    images: list[Image]


def page(wanted: FaceFilter, *, after: int = 0) -> tuple[list[FaceRow], bool]:
    """Return a page of faces after this one, by number, and whether more follow."""
    faces = list(wanted.select().filter(pk__gt=after).select_related("dataset").order_by("pk")[: PAGE + 1])
    return _rows(faces[:PAGE], wanted.metric), len(faces) > PAGE


def with_images(face: Face) -> list[Image]:
    """Return all images of a face with all their scores: photograph, input, then restorations by name."""
    return _rows([face], "")[0].images


def _rows(faces: list[Face], metric: str) -> list[FaceRow]:
    images: dict[int, list[Image]] = {face.pk: [] for face in faces}
    by_candidate = {}
    for candidate in Candidate.objects.filter(face__in=faces):
        by_candidate[candidate.pk] = image = Image(candidate)
        images[candidate.face_id].append(image)
    scores = Score.objects.filter(candidate__face__in=faces)
    for candidate_id, name, value in scores.values_list("candidate", "metric", "value"):
        by_candidate[candidate_id].scores[name] = value
    for image in by_candidate.values():
        image.shown_score = image.scores.get(metric)
    return [FaceRow(face, sorted(images[face.pk], key=_order)) for face in faces]


def _order(image: Image) -> tuple[int, str]:
    source = image.candidate.source
    return ((Candidate.HQ, Candidate.LQ).index(source) if source in (Candidate.HQ, Candidate.LQ) else 2, source)


@dataclass(frozen=True)
class PairRow:
    """A pair of a face. answers: answers in force. p_first: the SVM's probability, if it has labelled the pair."""

    pair: Pair
    answers: list[Lease]
    p_first: float | None


def pairs_of(face: Face) -> list[PairRow]:
    pairs = list(Pair.objects.filter(face=face).select_related("first", "second").order_by("kind", "pk"))
    answers: dict[int, list[Lease]] = {pair.pk: [] for pair in pairs}
    answered = Lease.objects.filter(item__pair__in=pairs, status=Lease.Status.ANSWERED)
    for lease in answered.select_related("judgement", "annotator", "item__campaign").order_by("closed_at"):
        answers[lease.item.pair_id].append(lease)
    labels = AutoLabel.objects.filter(predictor=status.current_predictor(), pair__in=pairs)
    p_first = dict(labels.values_list("pair", "p_first"))
    return [PairRow(pair, answers[pair.pk], p_first.get(pair.pk)) for pair in pairs]
