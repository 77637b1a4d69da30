"""Progress of an annotator and of a campaign. The cost does not grow with the number of items."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, F, Q, QuerySet, Sum
from django.utils import timezone

from annotate.common.prepared import Prepared
from annotate.desk import participants
from annotate.models import Campaign, Lease, Membership, User

RECENT = 20
ACTIVE = timedelta(days=7)  # whoever has answered since then takes part in sharing the open pairs


def campaigns_of(user: User) -> list[Campaign]:
    memberships = user.memberships.current()
    return list(Campaign.objects.filter(memberships__in=memberships).order_by("-open", "name"))


@dataclass(frozen=True)
class OwnShare:
    """An annotator's part of one campaign."""

    campaign: Campaign
    answered: int  # by this annotator, mirrored repeats included
    skipped: int
    answers: int  # by everyone
    answers_wanted: int
    is_at_limit: bool

    @property
    def is_complete(self) -> bool:
        return self.answers >= self.answers_wanted


def own_shares(user: User) -> list[OwnShare]:
    """List the annotator's campaigns, open ones first, in two queries."""
    memberships = list(
        user.memberships.current().select_related("campaign").order_by("-campaign__open", "campaign__name")
    )
    of_all = Membership.objects.filter(campaign__in=[one.campaign_id for one in memberships]).order_by()
    answers = dict(of_all.values_list("campaign").annotate(n=Sum(F("answered") + F("checked"))))
    return [
        OwnShare(
            campaign=campaign,
            answered=own.seen,
            skipped=own.skipped,
            answers=min(answers[campaign.pk], campaign.item_count * campaign.overlap),
            answers_wanted=campaign.item_count * campaign.overlap,
            is_at_limit=_is_at_limit(own, campaign),
        )
        for own in memberships
        for campaign in (own.campaign,)
    ]


@dataclass(frozen=True)
class Progress:
    """Attention checks are counted like other pairs: no number may tell them apart."""

    answered: int  # by this annotator, mirrored repeats included
    skipped: int
    today: int  # answered by this annotator since midnight
    items: int
    answers: int  # by everyone
    answers_wanted: int
    seconds_per_answer: float | None  # median of the annotator's last answers
    own_share: int  # answers that this annotator will have given in the end, as far as one can say now
    own_share_is_exact: bool  # else the open pairs are divided among the people who are at work
    limit: int | None = None  # most answers of one person, repeats not counted
    is_at_limit: bool = False

    @property
    def share(self) -> float:
        return self.answers / self.answers_wanted if self.answers_wanted else 0.0

    @property
    def remaining(self) -> int:
        return max(0, self.answers_wanted - self.answers)

    @property
    def own_remaining(self) -> int:
        return max(0, self.own_share - self.answered)


_OWN = Prepared(
    lambda annotator, campaign: Membership.objects.filter(annotator_id=annotator, campaign_id=campaign)[:1],
    annotator=int, campaign=int,
)  # fmt: skip
# Of a campaign: answers, checks, current members but one, and those of them who are at work.
_TOTALS = Prepared(
    lambda campaign, own, active_since: (
        Membership.objects.filter(campaign_id=campaign)
        .order_by()
        .values("campaign")
        .annotate(
            answers=Sum("answered"),
            checks=Sum("checked"),
            others=Count("pk", filter=_others(own)),
            at_work=Count("pk", filter=_others(own) & Q(last_at__gt=active_since, paused_at=None)),
        )
        .values_list("answers", "checks", "others", "at_work")
    ),
    campaign=int, own=int, active_since=datetime,
)  # fmt: skip
_SECONDS = Prepared(
    lambda annotator, campaign: (
        _answered(annotator, campaign).order_by("-closed_at").values_list("judgement__seconds", flat=True)[:RECENT]
    ),
    annotator=int, campaign=int,
)  # fmt: skip
_TODAY = Prepared(
    lambda annotator, campaign, since: (
        _answered(annotator, campaign)
        .filter(closed_at__gte=since)
        .order_by()
        .values("annotator")
        .annotate(number=Count("pk"))
        .values_list("number", flat=True)
    ),
    annotator=int, campaign=int, since=datetime,
)  # fmt: skip


def _others(own: int) -> Q:
    return Q(removed_at=None) & ~Q(pk=own)


def _answered(annotator: int, campaign: int) -> QuerySet[Lease]:
    return Lease.objects.filter(annotator_id=annotator, item__campaign_id=campaign, status=Lease.Status.ANSWERED)


def progress_of(*, annotator: User, campaign: Campaign) -> Progress:
    of_both = {"annotator": annotator.pk, "campaign": campaign.pk}
    own = _OWN.first(**of_both) or Membership(campaign=campaign)
    now = timezone.now()
    answers, checks, others, at_work = next(
        iter(_TOTALS(campaign=campaign.pk, own=own.pk or 0, active_since=now - ACTIVE)), (0, 0, 0, 0)
    )
    midnight = timezone.localtime(now).replace(hour=0, minute=0, second=0)
    wanted = campaign.item_count * campaign.overlap
    seconds = sorted(value for value in _SECONDS(**of_both) if value is not None)
    share, is_exact = _own_share(
        own, campaign, remaining=max(0, wanted - answers), others=others, others_at_work=at_work
    )
    return Progress(
        answered=own.seen,
        today=_TODAY.first(**of_both, since=midnight) or 0,
        skipped=own.skipped,
        items=campaign.item_count,
        answers=min(wanted, answers + checks),
        answers_wanted=wanted,
        seconds_per_answer=seconds[len(seconds) // 2] if seconds else None,
        own_share=share,
        own_share_is_exact=is_exact,
        limit=campaign.most_answers,
        is_at_limit=_is_at_limit(own, campaign),
    )


def _is_at_limit(own: Membership, campaign: Campaign) -> bool:
    return campaign.most_answers is not None and own.answered + own.checked >= campaign.most_answers


def _own_share(
    own: Membership, campaign: Campaign, *, remaining: int, others: int, others_at_work: int
) -> tuple[int, bool]:
    """Return the number of answers that are this person's, and whether it is certain.

    others: current members besides this one; others_at_work: those of them who have answered in the last seven days.

    It is certain if everyone answers every item, for the only member, and up to a limit that can be reached. Otherwise
    the answers that are still wanted are divided equally among the members who have answered in the last seven days,
    this person included. Nobody is asked more than once about an item, mirrored repeats aside.
    """
    asked = own.answered + own.checked
    most = max(0, campaign.item_count - own.answered - own.skipped)
    if participants.is_for_all(campaign):
        left = most
        is_exact = True
    else:
        left = min(most, math.ceil(remaining / (others_at_work + 1)))
        is_exact = not others
    if (limit := campaign.most_answers) is not None:
        is_exact = is_exact or limit - asked <= left
        left = min(left, max(0, limit - asked))
    elif campaign.check_share and left:
        # Expected from the beginning: a number that rises with a check would tell it apart.
        asked_in_all = own.answered + left
        expected = math.ceil(asked_in_all * campaign.check_share / (1 - campaign.check_share))
        left += max(0, min(expected, campaign.items.checks().count()) - own.checked)
        is_exact = False
    return own.seen + left, is_exact or not left
