"""Access control for images."""

from typing import Any

from django.db.models import Q, QuerySet

from annotate.models import Campaign, Candidate, Example, Face, Item, Pair, Trial, User
from annotate.pipeline.ground_truth import without_original


def may_see(user: User, candidate: Candidate) -> bool:
    """Return whether a user may see an image. Staff see every image.

    An annotator sees the images of pairs that they were given, to judge or in a qualification; the input and the
    reference of a face they were given to judge, if the campaign shows them; and the examples of their campaigns. In a
    study the input is the reference of a face without a photograph.
    Whoever was removed from a campaign sees its images no longer.
    """
    if user.is_staff:
        return True
    return _was_given(user, candidate) or _is_input_or_reference(user, candidate) or _is_example(user, candidate)


def _was_given(user: User, candidate: Candidate) -> bool:
    pairs = list(Pair.objects.filter(Q(first=candidate) | Q(second=candidate), face_id=candidate.face_id))
    given = Item.objects.filter(pair__in=pairs, leases__annotator=user, campaign__in=_campaigns(user))
    return given.exists() or Trial.objects.filter(pair__in=pairs, membership__in=user.memberships.current()).exists()


def _campaigns(user: User) -> QuerySet[Any]:
    return user.memberships.current().values("campaign")


def _is_input_or_reference(user: User, candidate: Candidate) -> bool:
    shown_by = {Candidate.LQ: Q(show_input=True), Candidate.HQ: Q(show_reference=True)}.get(candidate.source)
    if shown_by is None:
        return False
    if candidate.source == Candidate.LQ and without_original(Face.objects.filter(pk=candidate.face_id)).exists():
        shown_by |= Q(kind=Campaign.Kind.STUDY)
    pairs = list(Pair.objects.filter(face_id=candidate.face_id))
    given = Item.objects.filter(pair__in=pairs, leases__annotator=user, campaign__in=_campaigns(user)).values(
        "campaign"
    )
    return Campaign.objects.filter(shown_by, pk__in=given).exists()


def _is_example(user: User, candidate: Candidate) -> bool:
    examples = Example.objects.filter(campaign__in=_campaigns(user))
    return examples.filter(Q(better=candidate) | Q(worse=candidate)).exists()
