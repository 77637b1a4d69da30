"""The pairs of a campaign's attention checks: with the photograph, or marked by a lead."""

import math
from collections.abc import Iterable

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.common import audit_log
from annotate.common.randomness import uniform
from annotate.common.refusals import Refused
from annotate.desk import attention
from annotate.models import Campaign, Face, GoldSet, Item, Lease, Membership, Pair, User
from annotate.models.faces import Split
from annotate.predictor import refit_requests

FEWEST, MOST = 20, 200  # checks with the photograph in a new campaign
ALIKE = 1000  # pairs whose data sets and sizes are considered


def photographs(campaign: Campaign, pairs: Iterable[int]) -> dict[int, str]:
    """Choose anchored pairs of training faces as checks of a new campaign over these pairs -> the better image.

    They are of the same data sets and sizes as the first of these pairs, so that a picture's size tells nothing. None
    if the photograph is shown beside each pair: it would tell the checks apart.
    """
    if not campaign.check_share or campaign.show_reference:
        return {}
    asked = set(pairs)
    wanted = min(MOST, max(FEWEST, math.ceil(campaign.check_share * len(asked))))
    alike = set(Face.objects.filter(pairs__in=sorted(asked)[:ALIKE]).values_list("dataset", "size"))
    anchored = Pair.objects.different().filter(
        kind=Pair.Kind.ANCHORED,
        face__split=Split.TRAIN,
        face__dataset__in={dataset for dataset, _size in alike},
        face__size__in={size for _dataset, size in alike},
    )
    known = dict(anchored.order_by("pk").values_list("pk", "p_first")[: 50 * MOST])
    drawn = sorted(known.keys() - asked, key=lambda pair: uniform(f"{campaign.seed}/checks/{pair}"))[:wanted]
    return {pair: "first" if known[pair] else "second" for pair in drawn}


@transaction.atomic
def mark(*, campaign: Campaign, pair: int, better: str, actor: User) -> int:
    """Make a pair that the campaign asks about an attention check. Its answers no longer count. Returns the number
    of items. Raises `Refused`."""
    if GoldSet.objects.filter(campaign=campaign).exists():
        raise Refused("is_gold_set", _("A gold set has no attention checks: all its answers count."))
    items = list(campaign.items.asked().select_for_update().filter(pair=pair).order_by("pk"))
    if not items:
        raise Refused("no_such_pair", _("This campaign does not ask about pair %(n)s.") % {"n": pair})
    leases = Lease.objects.filter(item__in=items, is_repeat=False)
    attention.count_as_checks(leases.filter(status=Lease.Status.ANSWERED).select_related("item"))
    leases.update(drawn=Lease.Drawn.CHECK)
    Item.objects.filter(pk__in=[item.pk for item in items]).update(
        known_answer=better, open_slots=0, given_back=False, rank=None, audit=False
    )
    Campaign.objects.filter(pk=campaign.pk).update(item_count=campaign.items.asked().count())
    audit_log.record(actor=actor, action="mark-check", target=campaign, pair=pair, better=better)
    refit_requests.request_refit()
    return len(items)


@transaction.atomic
def exclude(*, campaign: Campaign, person: User, actor: User) -> None:
    """Exclude a member's answers in this campaign from the votes."""
    members = Membership.objects.filter(campaign=campaign, annotator=person, excluded_at=None)
    if not members.update(excluded_at=timezone.now()):
        raise Refused("excluded", _("The answers of %s are excluded already.") % person)
    audit_log.record(actor=actor, action="exclude-answers", target=campaign, person=person.pk)
    refit_requests.request_refit()


@transaction.atomic
def lift(*, campaign: Campaign, person: User, actor: User) -> None:
    """Lift the consequence of failed checks; only checks from now on count again."""
    Membership.objects.filter(campaign=campaign, annotator=person).update(
        warned_at=None, paused_at=None, excluded_at=None, checks_since=timezone.now()
    )
    audit_log.record(actor=actor, action="lift-consequence", target=campaign, person=person.pk)
    refit_requests.request_refit()
