"""Attention checks: pairs with a known answer among an annotator's pairs, and what follows from wrong answers.

A check looks like any other pair, on the page and in the API. Its answers are counted among the annotator's, so that no
number tells it apart, but they are never votes (`annotate.labels.votes`). The answers are reviewed after every tenth
answer only: what follows must not say which pair was a check.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from annotate.common import audit_log
from annotate.common.randomness import uniform
from annotate.models import Campaign, Item, Lease, Membership
from annotate.models.campaigns import CheckConsequence
from annotate.predictor import refit_requests

REVIEWED_EVERY = 10  # answers
LEAST = 5  # checks, before anything follows


@dataclass(frozen=True)
class CheckResult:
    right: int = 0
    total: int = 0

    @property
    def share(self) -> float | None:
        return self.right / self.total if self.total else None


def next_check(membership: Membership) -> Item | None:
    """Return a check that the annotator has not seen, if it is time for one; else None."""
    campaign = membership.campaign
    draw = f"{campaign.seed}/check/{membership.annotator_id}/{membership.given}"
    if uniform(draw) >= campaign.check_share:
        return None
    seen = Lease.objects.filter(item=OuterRef("pk"), annotator_id=membership.annotator_id, is_repeat=False).exclude(
        status=Lease.Status.EXPIRED
    )
    unseen = campaign.items.checks().filter(~Exists(seen)).exclude(pair__in=membership.trials.values("pair"))
    unseen = unseen.select_related("pair__face", "pair__first", "pair__second").order_by("position")
    start = int(uniform(f"{draw}/which") * 2**56) * len(campaign.questions)
    return unseen.filter(position__gte=start).first() or unseen.first()


def results(campaign: Campaign) -> dict[int, CheckResult]:
    """Return annotator -> result, of those who have answered a check. Only answers since a lead lifted what followed
    from earlier ones count."""
    counts: dict[int, CheckResult] = {}
    since = dict(campaign.memberships.values_list("annotator_id", "checks_since"))
    answered = _answered(Q(item__campaign=campaign))
    for annotator, known, choice, at in answered.values_list(
        "annotator_id", "item__known_answer", "judgement__choice", "closed_at"
    ):
        if (start := since.get(annotator)) is None or (at is not None and at > start):
            before = counts.get(annotator, CheckResult())
            counts[annotator] = CheckResult(before.right + (known == choice), before.total + 1)
    return counts


def _answered(of: Q) -> QuerySet[Lease]:
    return Lease.objects.answered_first().filter(of, drawn=Lease.Drawn.CHECK)


def review(membership: Membership) -> None:
    """Let follow what the lead has chosen, if the annotator falls below the required share of correct answers."""
    campaign = membership.campaign
    if not campaign.check_share:
        return
    answered = _answered(Q(annotator=membership.annotator_id, item__campaign=campaign))
    if membership.checks_since:
        answered = answered.filter(closed_at__gt=membership.checks_since)
    rows = list(answered.values_list("item__known_answer", "judgement__choice"))
    result = CheckResult(sum(known == choice for known, choice in rows), len(rows))
    if result.total < LEAST or (result.share or 0) >= campaign.check_required:
        Membership.objects.filter(pk=membership.pk).exclude(warned_at=None).update(warned_at=None)
        return
    field = FIELDS.get(CheckConsequence(campaign.check_consequence))
    if field is None or getattr(membership, field):
        return
    Membership.objects.filter(pk=membership.pk).update(**{field: timezone.now()})
    audit_log.record(
        actor=None, action="attention-checks", target=campaign, person=membership.annotator_id,
        consequence=campaign.check_consequence, right=result.right, checks=result.total,
    )  # fmt: skip
    if field == "excluded_at":
        refit_requests.request_refit()


FIELDS = {
    CheckConsequence.WARN: "warned_at",
    CheckConsequence.PAUSE: "paused_at",
    CheckConsequence.EXCLUDE: "excluded_at",
}


def is_due(membership: Membership) -> bool:
    return membership.seen % REVIEWED_EVERY == 0


def count_as_checks(leases: Iterable[Lease]) -> None:
    """Move answered leases from the annotators' answers to their checks."""
    for lease in leases:
        Membership.objects.filter(campaign=lease.item.campaign_id, annotator=lease.annotator_id).update(
            answered=F("answered") - 1, checked=F("checked") + 1
        )
