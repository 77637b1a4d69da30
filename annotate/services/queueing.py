"""Which item comes next, on which sides, and what is asked twice. Every look-up reads a few rows of an index made for
it, so that its cost does not grow with the number of items.

Balanced: all items in a random order that the campaign's seed fixes; an annotator's cursor walks along it once.
Uncertain first: the items that the newest SVM is least sure of, ranked by the worker. A random share of the items
(`Item.audit`) is never chosen by its margin: what is learned from these holds for all pairs.
"""

import hashlib
from dataclasses import dataclass, field

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.db.models.functions import Abs

from annotate.models import AutoLabel, Campaign, Item, Lease, Membership, Predictor
from annotate.stages import batches

RANKED = 2000  # most uncertain items that are ranked at a time: more than are answered before the next refit
REPEAT_AFTER = (20, 40)  # answers between a pair and its mirrored repeat


@dataclass(frozen=True)
class Draw:
    item: Item
    how: str  # of Lease.Drawn
    cursors: dict[str, int] = field(default_factory=dict)  # fields of the membership that move on


def next_item(membership: Membership) -> Draw | None:
    """The next item with an open slot that this annotator has neither answered nor skipped, locked."""
    campaign = membership.campaign
    items = _open_items(membership)
    balanced = campaign.order == Campaign.Order.BALANCED
    ahead = items.filter(position__gt=membership.cursor) if balanced else _unaudited_ahead(items, membership)
    searches = {"ahead": ahead.order_by("position"), "back": items.filter(given_back=True).order_by("position")}
    if not balanced:
        audited = items.filter(audit=True, position__gt=membership.audit_cursor).order_by("position")
        ranked = items.filter(rank__isnull=False).order_by("rank")
        first = {"audit": audited, "ranked": ranked} if _draws_audit(membership) else {"ranked": ranked}
        searches = {**first, **searches, "audit": audited}
    for name in (*(name for name in searches if name != "back"), "back"):
        item = searches[name].first()
        if item:
            return _draw(item, name, balanced=balanced)
    return None


def _open_items(membership: Membership) -> QuerySet[Item]:
    closed_to_them = Lease.objects.filter(
        item=OuterRef("pk"), annotator_id=membership.annotator_id, is_repeat=False
    ).exclude(status=Lease.Status.EXPIRED)
    return (
        Item.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(campaign_id=membership.campaign_id, open_slots__gt=0)
        .filter(~Exists(closed_to_them))
        .select_related("pair__face", "pair__first", "pair__second")
    )


def _unaudited_ahead(items: QuerySet[Item], membership: Membership) -> QuerySet[Item]:
    return items.filter(position__gt=membership.cursor, audit=False)


def _draws_audit(membership: Membership) -> bool:
    campaign = membership.campaign
    return uniform(f"{campaign.seed}/audit/{membership.annotator_id}/{membership.given}") < campaign.random_share


def _draw(item: Item, search: str, *, balanced: bool) -> Draw:
    how = Lease.Drawn.RANDOM if balanced or item.audit else Lease.Drawn.UNCERTAIN
    cursors = {"ahead": {"cursor": item.position}, "audit": {"audit_cursor": item.position}}.get(search, {})
    return Draw(item, how, cursors)


def uniform(text: str) -> float:
    """A number in [0, 1) that the text fixes."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big") / 2**56


def draw_side(item: Item, membership: Membership) -> bool:
    """Whether the pair's first image is on the left: random per annotator and pair, from the campaign's seed."""
    return uniform(f"{membership.campaign.seed}/{membership.annotator_id}/{item.pair_id}") < 0.5


def draw_repeat(lease: Lease) -> int | None:
    """After how many further answers this one is asked again with the sides mirrored, if at all."""
    campaign = lease.item.campaign
    text = f"{campaign.seed}/repeat/{lease.annotator_id}/{lease.item_id}"
    if uniform(text) >= campaign.repeat_share:
        return None
    low, high = REPEAT_AFTER
    return low + int(uniform(f"{text}/gap") * (high - low + 1))


def rank_uncertain(version: Predictor) -> int:
    """Rank the open items of campaigns that ask uncertain ones first, by the margin |p - 1/2| of this version's
    labels. Called by the worker. Returns how many items are ranked."""
    return sum(
        _rank(campaign, version) for campaign in Campaign.objects.filter(order=Campaign.Order.UNCERTAIN, open=True)
    )


def _rank(campaign: Campaign, version: Predictor) -> int:
    asked = Item.objects.filter(campaign=campaign, pair=OuterRef("pair"), open_slots__gt=0, audit=False)
    labels = AutoLabel.objects.filter(predictor=version).filter(Exists(asked))
    pairs = list(labels.order_by(Abs(0.5 - F("p_first")), "pair_id").values_list("pair_id", flat=True)[:RANKED])
    rank_of = {pair: rank for rank, pair in enumerate(pairs)}
    items = Item.objects.filter(campaign=campaign)
    with transaction.atomic():
        items.filter(rank__isnull=False).update(rank=None)
        for batch in batches(pairs, 500):
            ranked = list(items.filter(pair__in=batch))
            for item in ranked:
                item.rank = rank_of[item.pair_id]
            Item.objects.bulk_update(ranked, ["rank"])
    return len(pairs)
