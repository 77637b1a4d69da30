"""Choose the next item, its sides and its repeats. Every query reads a few rows of a dedicated index, so that its cost
does not grow with the number of items.

Balanced: all items in a random order fixed by the campaign's seed and the annotator (`own_order`); each annotator's
cursor passes over it once. Uncertain first: the items with the smallest margins of the newest SVM, ranked by the
worker, are the same for all. A random share of the items (`Item.audit`) is never chosen by margin, so that estimates
from this share hold for all pairs; it comes in the annotator's own order.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from annotate.common.prepared import Prepared
from annotate.common.randomness import uniform
from annotate.desk import own_order
from annotate.models import Campaign, Item, Lease, Membership

REPEAT_AFTER = (20, 40)  # answers between a pair and its mirrored repeat
END = 2**63 - 1  # cursor at the end of the order
Read = Literal["lock", "wait", "position"]  # of the first item: lock it, skipping locked ones; wait for it; only look
CURSORS = {"ahead": "cursor", "audit": "audit_cursor"}  # search -> field of Membership


@dataclass(frozen=True)
class Draw:
    item: Item
    how: str  # a Lease.Drawn


def next_item(membership: Membership, *, wait: bool = False) -> Draw | None:
    """Lock and return the next item with an open slot that this annotator has neither answered nor skipped.

    Advances the membership's cursors; the caller saves them. Items that other requests have locked are skipped, or
    waited for with `wait`.
    """
    campaign = membership.campaign
    balanced = campaign.order == Campaign.Order.BALANCED
    for search in _searches(membership):
        item = _first(membership, search, "wait" if wait else "lock")
        if search in CURSORS:
            _move_cursor(membership, search, item)
        if item:
            how = Lease.Drawn.RANDOM if balanced or item.audit else Lease.Drawn.UNCERTAIN
            return Draw(item, how)
    return None


def has_locked_items(membership: Membership) -> bool:
    """Return whether items for this annotator are left, but locked by other requests."""
    return _can_skip_locked() and any(
        _first(membership, search, "position") is not None for search in _searches(membership)
    )


def _searches(membership: Membership) -> tuple[str, ...]:
    if membership.campaign.order == Campaign.Order.BALANCED:
        return "ahead", "back"
    if _draws_audit(membership):
        return "audit", "ranked", "ahead", "back"
    return "ranked", "ahead", "audit", "back"


def _first(membership: Membership, search: str, read: Read) -> Any:
    """Return the first item of a search in its order, or its position in a tuple: 0 is a position too."""
    who = {"campaign": membership.campaign_id, "annotator": membership.annotator_id}
    if search not in CURSORS:
        return _query(search, read).first(**who)
    is_by_margin = membership.campaign.order == Campaign.Order.UNCERTAIN
    kind = "not_audit" if search == "ahead" and is_by_margin else search
    cursor = getattr(membership, CURSORS[search])
    if cursor == END:
        return None
    order = own_order.order_of(membership)

    def fetch(low: int, high: int) -> Any:
        return _query(kind, read).first(**who, low=low, high=high)

    def first_position(start: int) -> int | None:
        return next(iter(_query(kind, "position").first(**who, low=start, high=END) or ()), None)

    return own_order.first_after(order, order.place_at(cursor), fetch, first_position)


@cache
def _query(kind: str, read: Read) -> Prepared[Any]:
    """Describe the first open item of a kind. Only ranked and given back items are not read by a range of positions."""
    filters = {
        "ahead": {}, "audit": {"audit": True}, "not_audit": {"audit": False}, "back": {"given_back": True},
        "ranked": {"rank__isnull": False},
    }  # fmt: skip
    has_range = kind not in ("ranked", "back")

    def describe(campaign: int, annotator: int, low: int = 0, high: int = 0) -> QuerySet[Item, Any]:
        items = _open_items(campaign, annotator).filter(**filters[kind])
        if has_range:
            items = items.filter(position__gte=low, position__lt=high)
        items = items.order_by("rank" if kind == "ranked" else "position")
        if read == "position":
            return items.values_list("position")[:1]
        locked = items.select_for_update(skip_locked=read == "lock", of=("self",))
        return locked.select_related("pair__face", "pair__first", "pair__second")[:1]

    return Prepared(describe, campaign=int, annotator=int, **({"low": int, "high": int} if has_range else {}))


def _move_cursor(membership: Membership, search: str, item: Item | None) -> None:
    """Advance the cursor to the item, or to the end, but not past a locked item, which may become free again."""
    order = own_order.order_of(membership)
    first = _first(membership, search, "position") if _can_skip_locked() else None
    if first and (item is None or first[0] != item.position):
        reached = order.cursor(order.place_of(first[0]) - 1)
    else:
        reached = END if item is None else order.cursor(order.place_of(item.position))
    setattr(membership, CURSORS[search], reached)


def _can_skip_locked() -> bool:
    return connection.features.has_select_for_update_skip_locked  # not on SQLite, which serialises writers


def _open_items(campaign: int, annotator: int) -> QuerySet[Item]:
    closed = Lease.objects.filter(item=OuterRef("pk"), annotator_id=annotator, is_repeat=False).exclude(
        status=Lease.Status.EXPIRED
    )
    return Item.objects.filter(campaign_id=campaign, open_slots__gt=0).filter(~Exists(closed))


def _draws_audit(membership: Membership) -> bool:
    campaign = membership.campaign
    return uniform(f"{campaign.seed}/audit/{membership.annotator_id}/{membership.given}") < campaign.random_share


def draw_side(item: Item, membership: Membership) -> bool:
    """Return whether the pair's first image is on the left: random by annotator and pair, fixed by the seed."""
    return uniform(f"{membership.campaign.seed}/{membership.annotator_id}/{item.pair_id}") < 0.5


def draw_repeat(lease: Lease) -> int | None:
    """Return after how many more answers to repeat this one with mirrored sides; None for no repeat."""
    campaign = lease.item.campaign
    text = f"{campaign.seed}/repeat/{lease.annotator_id}/{lease.item_id}"
    if uniform(text) >= campaign.repeat_share:
        return None
    low, high = REPEAT_AFTER
    return low + int(uniform(f"{text}/gap") * (high - low + 1))
