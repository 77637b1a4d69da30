"""The one thing that a campaign needs from its lead now, in words and with the page where it is done."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from django.db.models import Count, F, Q, Sum
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotate.campaigns.oversight import Pace
from annotate.models import Campaign, GoldSet, Invitation, Membership


@dataclass(frozen=True)
class Facts:
    """What decides the next step. flagged, disputed: counted for a campaign's own page only, since they take long."""

    members: int
    at_limit: int  # members who have given all answers that the campaign takes from one person
    free_places: int  # of invitation links that can still be used
    answers: int
    remaining: int
    is_quiet: bool
    is_gold: bool
    is_frozen: bool
    is_adjudicated: bool
    flagged: int = 0
    disputed: int = 0


@dataclass(frozen=True)
class Link:
    label: str
    address: str


@dataclass(frozen=True)
class NextStep:
    """link: where it is done. others: what else the lead can do now. is_needed: the campaign waits for the lead."""

    title: str
    text: str
    link: Link
    others: tuple[Link, ...] = ()
    is_needed: bool = True


def facts(campaigns: Collection[Campaign], paces: dict[int, Pace]) -> dict[int, Facts]:
    """Collect the facts of each campaign, by its id, in four queries."""
    of_these = {"campaign__in": campaigns}
    at_limit = Count("pk", filter=Q(answered__gte=F("campaign__most_answers")))
    members = {
        pk: (total, full)
        for pk, total, full in Membership.objects.current()
        .filter(**of_these)
        .order_by()
        .values_list("campaign")
        .annotate(Count("pk"), at_limit=at_limit)
    }
    is_valid = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    links = Invitation.objects.filter(is_valid, **of_these).order_by()
    places = dict(links.values_list("campaign").annotate(free=Sum(F("places") - F("taken"))))
    frozen = {
        pk: frozen_at is not None
        for pk, frozen_at in GoldSet.objects.filter(**of_these).values_list("campaign", "frozen_at")
    }
    these = Campaign.objects.filter(pk__in=[one.pk for one in campaigns])
    adjudicated = set(these.filter(adjudications__isnull=False).values_list("pk", flat=True))
    return {
        one.pk: Facts(
            members=members.get(one.pk, (0, 0))[0],
            at_limit=members.get(one.pk, (0, 0))[1],
            free_places=places.get(one.pk, 0),
            answers=paces[one.pk].answers,
            remaining=paces[one.pk].remaining,
            is_quiet=paces[one.pk].quiet_for is not None,
            is_gold=one.pk in frozen,
            is_frozen=frozen.get(one.pk, False),
            is_adjudicated=one.pk in adjudicated,
        )
        for one in campaigns
    }


def with_counts(found: Facts, *, flagged: int, disputed: int) -> Facts:
    return replace(found, flagged=flagged, disputed=disputed)


def next_step(campaign: Campaign, found: Facts) -> NextStep:
    """Return the first step that applies: a finished campaign's next use, else what keeps it from going on."""
    if campaign.item_count and not found.remaining:
        return _after_the_end(campaign, found)
    if not campaign.open:
        return NextStep(
            _("Paused"),
            _("No pairs are issued and no answers accepted. All answers are kept."),
            Link(_("Reopen in the settings"), _page(campaign, "campaign_settings")),
        )
    people = _page(campaign, "campaign_people")
    if not found.members and not found.free_places:
        return NextStep(
            _("Invite annotators"),
            _("Nobody can answer yet. Invite people with an account, create accounts from a list, or create a link."),
            Link(_("Invite annotators"), people),
        )
    if not found.members:
        return NextStep(
            _("Pass on the invitation link"),
            ngettext("%(n)s place is free.", "%(n)s places are free.", found.free_places) % {"n": found.free_places},
            Link(_("Show the link"), f"{people}#links"),
        )
    return _while_running(campaign, found, people)


def _while_running(campaign: Campaign, found: Facts, people: str) -> NextStep:
    if found.at_limit == found.members and not found.free_places:
        return NextStep(
            _("Everyone has given their most answers"),
            _("%(n)s answers are still needed. Invite more people, or raise the limit per person.")
            % {"n": f"{found.remaining:,}"},
            Link(_("Invite annotators"), people),
            (Link(_("Raise the limit"), _page(campaign, "campaign_settings")),),
        )
    if found.flagged:
        title = ngettext("%(n)s annotator to check", "%(n)s annotators to check", found.flagged)
        return NextStep(
            title % {"n": found.flagged},
            _("Their answers differ from what attentive annotators give. A flag is a reason to check, not a verdict."),
            Link(_("See why"), f"{people}#check"),
        )
    if found.is_quiet:
        return NextStep(
            _("No answers lately"),
            _("Check that annotators are active and have passed the qualification."),
            Link(_("See the people"), people),
        )
    return NextStep(
        _("Answers are coming in") if found.answers else _("Waiting for the first answers"),
        ngettext("%(shown)s answer is still needed.", "%(shown)s answers are still needed.", found.remaining)
        % {"shown": f"{found.remaining:,}"},
        Link(_("Browse the pairs"), _page(campaign, "campaign_pairs")),
        is_needed=False,
    )


def _after_the_end(campaign: Campaign, found: Facts) -> NextStep:
    step = _use_of_the_answers(campaign, found)
    if found.flagged:
        label = ngettext("Check %(n)s annotator", "Check %(n)s annotators", found.flagged) % {"n": found.flagged}
        step = replace(step, others=(*step.others, Link(label, f"{_page(campaign, 'campaign_people')}#check")))
    return step


def _use_of_the_answers(campaign: Campaign, found: Facts) -> NextStep:
    if campaign.kind == Campaign.Kind.STUDY:
        report = Link(_("Open the study report"), _page(campaign, "study_report"))
        return NextStep(_("Finished"), _("All answers are in. The report has the preference ratios."), report)
    agreement = Link(_("See the agreement"), _page(campaign, "agreement"))
    labels = Link(_("See the SVM and its labels"), reverse("predictors"))
    if found.is_gold and not found.is_frozen:
        return NextStep(
            _("Freeze the gold set"),
            _("All answers are in. Once the set is frozen, its answers can no longer be changed, and reports use it."),
            Link(_("Freeze the gold set"), reverse("job_new", args=["freeze_gold"])),
            (agreement,),
        )
    if found.is_gold:
        text = _("The gold set is frozen. Reports compare people and reward models on it.")
        return NextStep(_("Finished"), text, agreement, is_needed=False)
    if found.disputed and not found.is_adjudicated and not campaign.adjudicates_id:
        text = ngettext(
            "All answers are in. Annotators disagree on %(shown)s pair: let someone decide it.",
            "All answers are in. Annotators disagree on %(shown)s pairs: let someone decide them.",
            found.disputed,
        )
        return NextStep(
            _("Create an adjudication"),
            text % {"shown": f"{found.disputed:,}"},
            Link(_("See the disputed pairs"), f"{_page(campaign, 'campaign_pairs')}?show=disputed#adjudication"),
            (agreement, labels),
        )
    text = _("All answers are in. See how well people agree, and what the SVM learned from the answers.")
    return NextStep(_("Finished"), text, agreement, (labels,), is_needed=False)


def _page(campaign: Campaign, name: str) -> str:
    return reverse(name, args=[campaign.slug])
