"""Oversight of a campaign: progress and pace, annotator behaviour, held items, audit log."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Count, Max, Min, OuterRef, Q, Subquery
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from annotate.desk import attention
from annotate.desk.attention import CheckResult
from annotate.models import Campaign, Lease, Membership, Preference, User
from annotate.statistics import pairwise_agreement
from annotate.statistics.annotator_checks import Behaviour, CheckedAnswer, Flag, behaviours, flags
from annotate.statistics.pairwise_agreement import Agreement

# Seconds between refreshes of the page, which reads every answer.
REFRESH_SMALL, REFRESH_MEDIUM, REFRESH_LARGE = 10, 60, 600
ITEM_STATES = {
    "complete": _("items complete"),
    "in progress": _("items in progress"),
    "untouched": _("items untouched"),
}


@dataclass(frozen=True)
class Pace:
    """Progress and pace of a campaign. The cost does not grow with its items or answers."""

    answers: int
    wanted: int
    last_hour: int
    last_day: int
    last_at: datetime | None
    is_young: bool  # less than a day old: its pace is not yet meaningful
    quiet_for: timedelta | None  # time without answers, if longer than quiet_hours

    @property
    def remaining(self) -> int:
        return max(0, self.wanted - self.answers)

    @property
    def is_complete(self) -> bool:
        return 0 < self.wanted <= self.answers

    @property
    def days_left(self) -> float | None:
        """Days left at the pace of the last day. None without answers in it, or for a campaign under a day old."""
        return self.remaining / self.last_day if self.last_day and not self.is_young else None

    @property
    def quiet_hours(self) -> int:
        return int(self.quiet_for.total_seconds() // 3600) if self.quiet_for else 0

    @property
    def refresh_seconds(self) -> int:
        return REFRESH_SMALL if self.answers < 5_000 else REFRESH_MEDIUM if self.answers < 50_000 else REFRESH_LARGE


def pace(campaign: Campaign, *, now: datetime | None = None) -> Pace:
    return paces([campaign], now=now)[campaign.pk]


def paces(campaigns: Collection[Campaign], *, now: datetime | None = None) -> dict[int, Pace]:
    """Return the pace of each campaign, by its id, in two queries."""
    now = now or timezone.now()
    newest = (
        Lease.objects.answered()
        .filter(annotator=OuterRef("annotator"), item__campaign=OuterRef("campaign"))
        .order_by("-closed_at")
        .values("closed_at")[:1]
    )
    members = Membership.objects.filter(campaign__in=campaigns)
    given: dict[int, list[tuple[int, datetime | None]]] = {campaign.pk: [] for campaign in campaigns}
    for member in members.annotate(newest_at=Subquery(newest)):
        given[member.campaign_id].append((member.answered, member.newest_at))
    recent = Lease.objects.answered_first().filter(
        annotator__in=members.values("annotator"),
        item__campaign__in=campaigns,
        closed_at__gt=now - timedelta(days=1),
        item__known_answer="",
    )
    last_hour = Count("pk", filter=Q(closed_at__gt=now - timedelta(hours=1)))
    counts = recent.order_by().values_list("item__campaign").annotate(hour=last_hour, day=Count("pk"))
    in_last = {pk: (hour, day) for pk, hour, day in counts}
    return {
        campaign.pk: _pace(campaign, given[campaign.pk], *in_last.get(campaign.pk, (0, 0)), now)
        for campaign in campaigns
    }


def _pace(
    campaign: Campaign, given: list[tuple[int, datetime | None]], last_hour: int, last_day: int, now: datetime
) -> Pace:
    answers = sum(answered for answered, _ in given)
    last_at = max((at for _, at in given if at), default=None)
    wanted = campaign.item_count * campaign.overlap
    silent = now - (last_at or campaign.created_at)
    unfinished = campaign.open and answers < wanted
    return Pace(
        answers=answers,
        wanted=wanted,
        last_hour=last_hour,
        last_day=last_day,
        last_at=last_at,
        is_young=now - campaign.created_at < timedelta(days=1),
        quiet_for=silent if unfinished and silent > timedelta(hours=campaign.quiet_hours) else None,
    )


def item_counts(campaign: Campaign) -> dict[str, int]:
    """Count the untouched, partly answered and complete items."""
    full = campaign.items.asked().filter(open_slots=0)
    held = Lease.objects.filter(item__in=full, status=Lease.Status.HELD, is_repeat=False)
    complete = full.count() - held.values("item").distinct().count()
    untouched = campaign.items.asked().filter(open_slots=campaign.overlap).count()
    return {"complete": complete, "in progress": campaign.item_count - complete - untouched, "untouched": untouched}


def answers(campaign: Campaign) -> Iterator[CheckedAnswer]:
    """Yield every answer in force, with mirrored repeats marked, without attention checks."""
    in_force = Lease.objects.answered().filter(item__campaign=campaign, item__known_answer="")
    first = campaign.questions[0]
    rows = in_force.values_list(
        "annotator_id", "item_id", "item__question", "judgement__choice", "judgement__left_is_first",
        "judgement__seconds", "is_repeat", "closed_at",
    )  # fmt: skip
    for person, item, question, choice, left_is_first, seconds, is_repeat, at in rows.iterator(chunk_size=5000):
        if at is None:
            raise AssertionError("An answered lease has no closing time.")
        yield CheckedAnswer(person, item, question == first, choice, left_is_first, seconds, is_repeat, at)


@dataclass(frozen=True)
class MemberRow:
    """One member of a campaign, removed or not. held_until: when the last of the held items expires."""

    member: Membership
    behaviour: Behaviour
    held: int
    checks: CheckResult
    held_until: datetime | None = None
    flags: list[Flag] = field(default_factory=list)

    @property
    def annotator(self) -> User:
        return self.member.annotator


@dataclass(frozen=True)
class Overview:
    rows: list[MemberRow]
    agreements: list[tuple[User, User, Agreement]]
    overall: Agreement
    times: list[datetime]  # of answers, in order

    @property
    def flags(self) -> list[tuple[User, Flag]]:
        return [(row.annotator, flag) for row in self.rows for flag in row.flags]


def overview(campaign: Campaign) -> Overview:
    """Summarise members, agreement and answer times in one pass over the answers in force."""
    members = list(campaign.memberships.select_related("annotator", "invitation").order_by("annotator__username"))
    people = {member.annotator_id: member.annotator for member in members}
    given = [answer for answer in answers(campaign) if answer.annotator in people]
    found = behaviours(given)
    found_flags = flags(found)
    held = {holder.annotator.pk: holder for holder in holders(campaign)}
    checks = attention.results(campaign)
    first_time = [answer for answer in given if not answer.is_repeat]
    agreements = pairwise_agreement.pairwise((answer.item, answer.annotator, answer.choice) for answer in first_time)
    return Overview(
        rows=[
            MemberRow(
                member=member,
                behaviour=found.get(member.annotator_id, Behaviour()),
                held=holder.items if holder else 0,
                held_until=holder.until if holder else None,
                checks=checks.get(member.annotator_id, CheckResult()),
                flags=found_flags.get(member.annotator_id, []),
            )
            for member in members
            for holder in (held.get(member.annotator_id),)
        ],
        agreements=[(people[one], people[other], value) for (one, other), value in agreements.items()],
        overall=pairwise_agreement.overall(agreements.values()),
        times=sorted(answer.at for answer in first_time),
    )


@dataclass(frozen=True)
class Holder:
    annotator: User
    items: int
    since: datetime
    until: datetime


def holders(campaign: Campaign) -> list[Holder]:
    """List the annotators who hold items, oldest lease first."""
    held = Lease.objects.filter(item__campaign=campaign, status=Lease.Status.HELD).values("annotator")
    rows = list(held.annotate(n=Count("pk"), since=Min("issued_at"), until=Max("expires_at")).order_by("since"))
    people = User.objects.in_bulk([row["annotator"] for row in rows])
    return [Holder(people[row["annotator"]], row["n"], row["since"], row["until"]) for row in rows]


def preference_counts() -> dict[str, int]:
    """Count the preferences of the whole site by origin."""
    counts = dict(Preference.objects.order_by().values_list("origin").annotate(Count("pk")))
    return {str(label): counts.get(value, 0) for value, label in Preference.Origin.choices}
