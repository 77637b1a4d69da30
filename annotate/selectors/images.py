"""Who may see which image."""

from django.db.models import Q

from annotate.models import Candidate, Example, Item, Pair, User


def may_see(user: User, candidate: Candidate) -> bool:
    """Staff see all; an annotator what was given to them, and the examples of their campaigns."""
    if user.is_staff:
        return True
    pairs = Pair.objects.filter(Q(first=candidate) | Q(second=candidate), face_id=candidate.face_id)
    if Item.objects.filter(pair__in=list(pairs), leases__annotator=user).exists():
        return True
    examples = Example.objects.filter(campaign__memberships__annotator=user)
    return examples.filter(Q(better=candidate) | Q(worse=candidate)).exists()
