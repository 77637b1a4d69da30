"""Progress of an annotator and of a campaign. The cost does not grow with the number of items."""

from dataclasses import dataclass

from django.db.models import Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from annotate.models import Campaign, Lease, Membership, User


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
    answers = dict(of_all.values_list("campaign").annotate(Sum("answered")))
    return [
        OwnShare(
            campaign=campaign,
            answered=own.answered + own.repeated,
            skipped=own.skipped,
            answers=answers[campaign.pk],
            answers_wanted=campaign.item_count * campaign.overlap,
            is_at_limit=campaign.most_answers is not None and own.answered >= campaign.most_answers,
        )
        for own in memberships
        for campaign in (own.campaign,)
    ]


@dataclass(frozen=True)
class Progress:
    answered: int  # by this annotator, mirrored repeats included
    skipped: int
    today: int  # answered by this annotator since midnight
    items: int
    answers: int  # by everyone
    answers_wanted: int
    seconds_per_answer: float | None  # median of the annotator's last answers
    limit: int | None = None  # most answers of one person, repeats not counted
    is_at_limit: bool = False

    @property
    def share(self) -> float:
        return self.answers / self.answers_wanted if self.answers_wanted else 0.0

    @property
    def remaining(self) -> int:
        return max(0, self.answers_wanted - self.answers)


RECENT = 20


def progress_of(*, annotator: User, campaign: Campaign) -> Progress:
    own = Membership.objects.filter(annotator=annotator, campaign=campaign).first()
    answers = Membership.objects.filter(campaign=campaign).aggregate(n=Coalesce(Sum("answered"), 0))["n"]
    answered = Lease.objects.filter(annotator=annotator, item__campaign=campaign, status=Lease.Status.ANSWERED)
    seconds = sorted(
        value
        for value in answered.order_by("-closed_at").values_list("judgement__seconds", flat=True)[:RECENT]
        if value is not None
    )
    return Progress(
        answered=own.answered + own.repeated if own else 0,
        today=answered.filter(closed_at__gte=timezone.localtime().replace(hour=0, minute=0, second=0)).count(),
        skipped=own.skipped if own else 0,
        items=campaign.item_count,
        answers=answers,
        answers_wanted=campaign.item_count * campaign.overlap,
        seconds_per_answer=seconds[len(seconds) // 2] if seconds else None,
        limit=campaign.most_answers,
        is_at_limit=own is not None and campaign.most_answers is not None and own.answered >= campaign.most_answers,
    )
