"""Pairs as the desk shows them, and an annotator's past answers. The number of queries does not depend on the depth."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field

from django.db.models import QuerySet

from annotate.common import sides
from annotate.common.prepared import Prepared
from annotate.models import Campaign, Candidate, Face, Judgement, Lease, User

# Part of the face -> its landmarks (of the five: eyes, nose, mouth corners), the height of its centre above them, and
# its width, both in units of the distance between the eyes.
PARTS = {"eyes": ((0, 1), 0.0, 2.2), "nose": ((2,), 0.15, 1.4), "mouth": ((3, 4), 0.0, 1.6), "hair": ((0, 1), 1.1, 3.0)}
MAX_ZOOM, MIN_ZOOM = 8.0, 1.4


@dataclass(frozen=True)
class PairView:
    """An item as its annotator sees it. Nothing in it reveals which restorer made an image."""

    lease: Lease
    input: Candidate | None
    reference: Candidate | None
    key: uuid.UUID = field(default_factory=uuid.uuid4)  # of the answer: a form sent twice stores one answer

    @property
    def question(self) -> str:
        return self.lease.item.question

    @property
    def face(self) -> Face:
        return self.lease.item.pair.face

    @property
    def parts(self) -> dict[str, list[float]]:
        return parts_of(self.face)


def pair_views(leases: list[Lease], campaign: Campaign) -> list[PairView]:
    is_study = campaign.kind == Campaign.Kind.STUDY  # whose reference is the input if there is no photograph
    wanted = {Candidate.LQ: campaign.show_input or is_study, Candidate.HQ: campaign.show_reference}
    sources = [source for source, is_wanted in wanted.items() if is_wanted]
    faces = {lease.item.pair.face_id for lease in leases}
    others: dict[tuple[int, str], Candidate] = {}
    if sources:
        for candidate in Candidate.objects.filter(face__in=faces, source__in=sources):
            others[candidate.face_id, candidate.source] = candidate

    def view(lease: Lease) -> PairView:
        of_low_quality = others.get((lease.item.pair.face_id, Candidate.LQ))
        photograph = others.get((lease.item.pair.face_id, Candidate.HQ))
        return PairView(
            lease=lease,
            input=of_low_quality if campaign.show_input else None,
            reference=photograph or (of_low_quality if is_study else None),
        )

    return [view(lease) for lease in leases]


def parts_of(face: Face) -> dict[str, list[float]]:
    """Map each part of the face to [x, y, zoom]: its centre as fractions of the image, and the zoom factor. Empty
    without landmarks."""
    if not face.landmarks:
        return {}
    points = [(x / face.size, y / face.size) for x, y in face.landmarks]
    between = max(0.02, ((points[0][0] - points[1][0]) ** 2 + (points[0][1] - points[1][1]) ** 2) ** 0.5)
    parts = {}
    for name, (which, above, width) in PARTS.items():
        x = sum(points[index][0] for index in which) / len(which)
        y = sum(points[index][1] for index in which) / len(which) - above * between
        zoom = min(MAX_ZOOM, max(MIN_ZOOM, 1 / (width * between)))
        parts[name] = [round(value, 4) for value in (min(1, max(0, x)), min(1, max(0, y)), zoom)]
    return parts


def own_lease(*, annotator: User, campaign: Campaign, token: uuid.UUID) -> Lease | None:
    """Return this annotator's answered lease with this token, and load what its page shows."""
    return _answered(annotator, campaign).filter(token=token).first()


PAGE = 24


@dataclass(frozen=True)
class PastAnswer:
    """One of the annotator's answers, as they saw the pair."""

    lease: Lease
    judgement: Judgement

    @property
    def earlier(self) -> int:
        """Number of earlier revisions: answers and undos."""
        return self.judgement.revision

    @property
    def side(self) -> str:
        return side_of(self.judgement)


def history(*, annotator: User, campaign: Campaign, before: uuid.UUID | None = None) -> tuple[list[PastAnswer], bool]:
    """Return a page of the annotator's answers in force, newest first, and whether there are older ones.

    An index serves every page at the same cost.
    """
    leases = _answered(annotator, campaign).order_by("-closed_at", "-pk")
    if before and (last := own_lease(annotator=annotator, campaign=campaign, token=before)):
        leases = leases.filter(closed_at__lte=last.closed_at).exclude(closed_at=last.closed_at, pk__gte=last.pk)
    page = list(leases[: PAGE + 1])
    return [PastAnswer(lease, lease.judgement) for lease in page[:PAGE] if lease.judgement], len(page) > PAGE


def _answered(annotator: User, campaign: Campaign) -> QuerySet[Lease]:
    return Lease.objects.filter(
        annotator=annotator, item__campaign=campaign, status=Lease.Status.ANSWERED
    ).select_related("judgement", "item__pair__face", "item__pair__first", "item__pair__second")


_LAST_CLOSED = Prepared(
    lambda annotator, campaign: (
        Lease.objects.filter(
            annotator_id=annotator,
            item__campaign_id=campaign,
            status__in=(Lease.Status.ANSWERED, Lease.Status.SKIPPED),
        )
        .select_related("judgement")
        .order_by("-closed_at", "-pk")[:1]
    ),
    annotator=int, campaign=int,
)  # fmt: skip


def last_closed(*, annotator: User, campaign: Campaign) -> Lease | None:
    """Return the lease that an undo would reopen, with its answer unless it was skipped."""
    return _LAST_CLOSED.first(annotator=annotator.pk, campaign=campaign.pk)


def side_of(judgement: Judgement) -> str:
    """Return the choice as the annotator saw it: left, right or cant_tell; undo for an undo."""
    if judgement.choice == Judgement.Choice.UNDO:
        return judgement.choice
    return sides.side_of(judgement.choice, left_is_first=judgement.left_is_first)


def tokens_of(text: str) -> set[uuid.UUID]:
    """Parse a browser's comma-separated list of lease tokens; ignore what is not a UUID."""
    return set(_uuids(text.split(",")))


def _uuids(words: Iterable[str]) -> Iterable[uuid.UUID]:
    for word in words:
        try:
            yield uuid.UUID(word)
        except ValueError:
            continue
