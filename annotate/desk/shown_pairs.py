"""What the desk shows of an item, and an annotator's own history. A bounded number of queries, whatever the depth."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import QuerySet

from annotate.common import sides
from annotate.models import Campaign, Candidate, Face, Judgement, Lease, User

# A part of the face: its landmarks (of the five: eyes, nose, corners of the mouth), how far above them its middle lies
# and how wide it is, both in distances between the eyes.
PARTS = {"eyes": ((0, 1), 0.0, 2.2), "nose": ((2,), 0.15, 1.4), "mouth": ((3, 4), 0.0, 1.6), "hair": ((0, 1), 1.1, 3.0)}
CLOSEST, FURTHEST = 8.0, 1.4


@dataclass(frozen=True)
class PairView:
    """An item as its annotator sees it. Nothing in it tells which restorer made an image."""

    lease: Lease
    input: Candidate | None
    reference: Candidate | None
    key: uuid.UUID = field(default_factory=uuid.uuid4)  # the answer's: a form that is sent twice is one answer

    @property
    def question(self) -> str:
        return self.lease.item.question

    @property
    def face(self) -> Face:
        return self.lease.item.pair.face

    @property
    def parts(self) -> dict[str, list[float]]:
        return parts_of(self.face)


def shown(leases: list[Lease], campaign: Campaign) -> list[PairView]:
    sources = [
        source
        for source, wanted in ((Candidate.LQ, campaign.show_input), (Candidate.HQ, campaign.show_reference))
        if wanted
    ]
    faces = {lease.item.pair.face_id for lease in leases}
    others: dict[tuple[int, str], Candidate] = {}
    if sources:
        for candidate in Candidate.objects.filter(face__in=faces, source__in=sources):
            others[candidate.face_id, candidate.source] = candidate
    return [
        PairView(
            lease=lease,
            input=others.get((lease.item.pair.face_id, Candidate.LQ)),
            reference=others.get((lease.item.pair.face_id, Candidate.HQ)),
        )
        for lease in leases
    ]


def parts_of(face: Face) -> dict[str, list[float]]:
    """Part of the face -> [x, y, zoom]: its middle in shares of the image, and how far to zoom in on it. Empty
    without landmarks."""
    if not face.landmarks:
        return {}
    points = [(x / face.size, y / face.size) for x, y in face.landmarks]
    between = max(0.02, ((points[0][0] - points[1][0]) ** 2 + (points[0][1] - points[1][1]) ** 2) ** 0.5)
    parts = {}
    for name, (which, above, width) in PARTS.items():
        x = sum(points[index][0] for index in which) / len(which)
        y = sum(points[index][1] for index in which) / len(which) - above * between
        zoom = min(CLOSEST, max(FURTHEST, 1 / (width * between)))
        parts[name] = [round(value, 4) for value in (min(1, max(0, x)), min(1, max(0, y)), zoom)]
    return parts


def own_lease(*, annotator: User, campaign: Campaign, token: uuid.UUID) -> Lease | None:
    """An answered lease of this annotator, with what its page shows."""
    return _answered(annotator, campaign).filter(token=token).first()


PAGE = 24


@dataclass(frozen=True)
class Past:
    """One own answer, as it was seen."""

    lease: Lease
    judgement: Judgement

    @property
    def earlier(self) -> int:
        """Answers and undos that it replaced."""
        return self.judgement.revision

    @property
    def side(self) -> str:
        return side_of(self.judgement)


def history(*, annotator: User, campaign: Campaign, before: uuid.UUID | None = None) -> tuple[list[Past], bool]:
    """Own answers in force, newest first, and whether there are older ones. Found by an index at any depth."""
    leases = _answered(annotator, campaign).order_by("-closed_at", "-pk")
    if before and (last := own_lease(annotator=annotator, campaign=campaign, token=before)):
        leases = leases.filter(closed_at__lte=last.closed_at).exclude(closed_at=last.closed_at, pk__gte=last.pk)
    page = list(leases[: PAGE + 1])
    return [Past(lease, lease.judgement) for lease in page[:PAGE] if lease.judgement], len(page) > PAGE


def _answered(annotator: User, campaign: Campaign) -> QuerySet[Lease]:
    return Lease.objects.filter(
        annotator=annotator, item__campaign=campaign, status=Lease.Status.ANSWERED
    ).select_related("judgement", "item__pair__face", "item__pair__first", "item__pair__second")


def last_closed(*, annotator: User, campaign: Campaign) -> uuid.UUID | None:
    """The lease that an undo would take back."""
    closed = Lease.objects.filter(
        annotator=annotator,
        item__campaign=campaign,
        status__in=(Lease.Status.ANSWERED, Lease.Status.SKIPPED),
    )
    return closed.order_by("-closed_at", "-pk").values_list("token", flat=True).first()


def side_of(judgement: Judgement) -> str:
    """left, right or cant_tell, as the annotator saw it; an undo as it is."""
    if judgement.choice == Judgement.Choice.UNDO:
        return judgement.choice
    return sides.side_of(judgement.choice, left_is_first=judgement.left_is_first)


def tokens_of(text: str) -> set[uuid.UUID]:
    """The lease tokens in a list that a browser sent; what is none is passed over."""
    return set(_uuids(text.split(",")))


def _uuids(words: Iterable[str]) -> Iterable[uuid.UUID]:
    for word in words:
        try:
            yield uuid.UUID(word)
        except ValueError:
            continue
