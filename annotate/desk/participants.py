"""Whether a campaign has comparisons for more participants, and for how many."""

from dataclasses import dataclass

from django.db.models import Count, F, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.common.refusals import Refused
from annotate.models import Campaign, Lease


@dataclass(frozen=True)
class Room:
    """How many more people can be promised comparisons, and why no more."""

    places: int
    reason: str

    @property
    def refusal(self) -> str:
        return " ".join((_("There is room for %(n)s more.") % {"n": f"{self.places:,}"}, self.reason))


def is_for_all(campaign: Campaign) -> bool:
    """Return whether every participant is to answer every comparison. Otherwise they share them."""
    return campaign.kind == Campaign.Kind.STUDY and campaign.adjudicates_id is None


def room(campaign: Campaign) -> Room:
    """Count the places that a new link can promise: with a comparison for everyone, in a study with all of them."""
    kept = campaign.memberships.filter(Q(removed_at=None) | Q(answered__gt=0))  # answers of removed members stay
    members = kept.aggregate(n=Count("pk"), answered=Sum("answered", default=0))
    is_valid = Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    promised = campaign.invitations.filter(is_valid).aggregate(n=Sum(F("places") - F("taken"), default=0))["n"]
    if is_for_all(campaign):
        reason = _(
            "This study asks %(overlap)s people about every comparison. Members: %(members)s; free places of links: "
            "%(promised)s. To make room for more, raise “More annotators per pair”."
        ) % {"overlap": campaign.overlap, "members": members["n"], "promised": promised}
        return Room(max(0, campaign.overlap - members["n"] - promised), reason)
    wanted = max(0, campaign.item_count * campaign.overlap - members["answered"])
    reason = _(
        "Every participant needs at least one comparison. Answers still needed: %(wanted)s; free places of links: "
        "%(promised)s. To make room for more, raise “More annotators per pair”."
    ) % {"wanted": f"{wanted:,}", "promised": f"{promised:,}"}
    return Room(max(0, wanted - promised), reason)


def require_room(*, campaign: Campaign, wanted: int) -> None:
    """Raise `Refused` unless the campaign has comparisons for this many more people.

    Call it in a transaction: it locks the campaign, so that two requests cannot promise the same places.
    """
    found = room(Campaign.objects.select_for_update().get(pk=campaign.pk))
    if wanted > found.places:
        raise Refused("no_room", found.refusal)


def comparisons_for_newcomer(campaign: Campaign) -> int:
    """Count the comparisons that a new participant would be given. Raises `Refused` if there are none."""
    held = Lease.objects.filter(
        item__campaign=campaign, item__known_answer="", status=Lease.Status.HELD, is_repeat=False
    )
    expired = held.filter(item__open_slots=0, expires_at__lt=timezone.now())
    count = campaign.items.filter(open_slots__gt=0).count() + expired.values("item").distinct().count()
    if count:
        return count if campaign.most_answers is None else min(count, campaign.most_answers)
    if held.exists():
        raise Refused(
            "all_held",
            _("Other participants are answering all comparisons that are left. Open this link again in %(n)s minutes.")
            % {"n": max(1, round(campaign.lease_seconds / 60))},
        )
    raise Refused("complete", _("“%s” is complete: every comparison has all its answers. Thank you!") % campaign)
