"""Issue, renew and return leases, which reserve items for an annotator."""

from collections import Counter
from datetime import datetime, timedelta
from functools import cache

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from annotate.common.batches import batches
from annotate.common.prepared import Prepared, PreparedUpdate
from annotate.common.refusals import Refused
from annotate.desk import attention, onboarding, queueing
from annotate.models import Campaign, Item, Lease, Membership, User

PAUSED = gettext_lazy(
    "You get no more pairs here at the moment: some of your answers differ from what is certain. Ask the lead. Your "
    "answers are kept."
)
LEASES_AT_ONCE = 1000
# Without the campaign's name, which is none of a stranger's business.
NOT_A_MEMBER = gettext_lazy("You are not a member of this campaign. Ask the lead to add you.")


_MEMBERSHIP = Prepared(
    lambda annotator, campaign: (
        Membership.objects.current()
        .select_for_update(of=("self",))
        .filter(annotator_id=annotator, campaign_id=campaign)[:1]
    ),
    annotator=int, campaign=int,
)  # fmt: skip


def lock_membership(*, annotator: User, campaign: Campaign) -> Membership:
    """Lock the membership's row for the transaction, before any lease or item. Raises `Refused` for a non-member."""
    membership = _MEMBERSHIP.first(annotator=annotator.pk, campaign=campaign.pk)
    if membership is None:
        raise Refused("not_a_member", str(NOT_A_MEMBER))
    membership.campaign = campaign
    return membership


def held_leases(*, annotator: User | int, campaign: Campaign | int) -> QuerySet[Lease]:
    """Return the annotator's held leases in the order of issue (an undone item comes first again)."""
    held = Lease.objects.filter(annotator=annotator, item__campaign=campaign, status=Lease.Status.HELD)
    return _with_images(held).order_by("issued_at", "pk")


@cache
def _held(depth: int) -> Prepared[Lease]:
    """Describe the first held leases, locked so that a lease that expires now is either renewed or returned."""
    return Prepared(
        lambda annotator, campaign: (
            held_leases(annotator=annotator, campaign=campaign).select_for_update(of=("self",))[:depth]
        ),
        annotator=int, campaign=int,
    )  # fmt: skip


def _with_images(leases: QuerySet[Lease]) -> QuerySet[Lease]:
    return leases.select_related("item__pair__face", "item__pair__first", "item__pair__second")


def lease_items(*, annotator: User, campaign: Campaign, depth: int = 1) -> list[Lease]:
    """Return up to `depth` leases of this annotator: the held ones, renewed, then new ones. Empty if nothing is left.

    1. Lock the membership, so that two tabs of one annotator get the same items.
    2. Renew the held leases; asking again changes nothing else.
    3. Return the expired leases of others to their items.
    4. Issue the mirrored repeats that are due, then the next items in the campaign's order (see `queueing`).

    Items that other requests have locked are skipped. If nothing else is left, a second transaction waits for them; it
    locks no other item, so that requests cannot deadlock.
    """
    leases, has_locked_items = lease_unlocked_items(annotator=annotator, campaign=campaign, depth=depth)
    return wait_for_items(annotator=annotator, campaign=campaign) if has_locked_items else leases


def lease_unlocked_items(*, annotator: User, campaign: Campaign, depth: int) -> tuple[list[Lease], bool]:
    """As `lease_items`, but never wait for another request, so that it can be part of a longer transaction.

    Also returns whether to call `wait_for_items` after that transaction.
    """
    return _lease_items(annotator=annotator, campaign=campaign, depth=depth)


def wait_for_items(*, annotator: User, campaign: Campaign) -> list[Lease]:
    """Lease an item that another request had locked, if that left it open. Not within a longer transaction, whose locks
    others may wait for."""
    return _lease_items(annotator=annotator, campaign=campaign, depth=1, wait=True)[0]


@transaction.atomic
def _lease_items(*, annotator: User, campaign: Campaign, depth: int, wait: bool = False) -> tuple[list[Lease], bool]:
    """Return the leases, and whether there are none only because other requests have locked what is left."""
    membership = lock_membership(annotator=annotator, campaign=campaign)
    if not campaign.open:
        raise Refused("campaign_closed", _("“%s” is paused. Your answers are kept; come back later.") % campaign)
    if membership.paused_at:
        raise Refused("member_paused", str(PAUSED))
    onboarding.require_ready(membership)
    now = timezone.now()
    expires_at = now + timedelta(seconds=campaign.lease_seconds)
    leases = _held(depth)(annotator=annotator.pk, campaign=campaign.pk)
    Lease.objects.filter(pk__in=[lease.pk for lease in leases]).update(expires_at=expires_at)
    for lease in leases:
        lease.expires_at = expires_at
    if len(leases) < depth and not wait:
        _return_expired_leases(now=now)
    limit, held_now, is_at_limit = campaign.most_answers, 0, False
    if limit is not None:
        held_now = held_leases(annotator=annotator, campaign=campaign).filter(is_repeat=False).count()
    while len(leases) < depth:
        is_at_limit = limit is not None and membership.answered + membership.checked + held_now >= limit
        issued = _issue_next(membership, now=now, expires_at=expires_at, wait=wait, only_repeats=is_at_limit)
        if issued is None:
            break
        held_now += not issued.is_repeat
        leases.append(issued)
    if not leases:
        attention.review(membership)
        return leases, not wait and not is_at_limit and queueing.has_locked_items(membership)
    return leases, False


_ReturnedLease = tuple[int, int, bool, str]  # id, item, is_repeat, drawn


def _to_return(held: QuerySet[Lease], *, skip_locked: bool = False) -> "QuerySet[Lease, _ReturnedLease]":
    """Lock held leases, to return them."""
    locked = held.filter(status=Lease.Status.HELD).select_for_update(skip_locked=skip_locked, of=("self",))
    return locked.order_by("item_id").values_list("pk", "item_id", "is_repeat", "drawn")


_EXPIRED = Prepared(lambda now: _to_return(Lease.objects.filter(expires_at__lt=now), skip_locked=True), now=datetime)


def _return_expired_leases(*, now: datetime) -> None:
    _return(_EXPIRED(now=now))


def give_back(held: QuerySet[Lease]) -> int:
    """Return held leases to their items for others, and repeats to their annotator's plan. Returns the number."""
    rows = list(_to_return(held))
    _return(rows)
    return len(rows)


def _return(leases: list[_ReturnedLease]) -> None:
    """A few statements for every `LEASES_AT_ONCE` leases: thousands may expire at once, within somebody's request."""
    for batch in batches(leases, LEASES_AT_ONCE):
        repeats = [pk for pk, _item, is_repeat, _drawn in batch if is_repeat]
        others = [pk for pk, _item, is_repeat, _drawn in batch if not is_repeat]
        Lease.objects.filter(pk__in=repeats).update(status=Lease.Status.PLANNED)
        Lease.objects.filter(pk__in=others).update(status=Lease.Status.EXPIRED)
        _return_slots(
            Counter(item for _pk, item, is_repeat, drawn in batch if not is_repeat and drawn != Lease.Drawn.CHECK)
        )


def _return_slots(slots: Counter[int]) -> None:
    """Reopen slots of items: item -> how many."""
    if len(slots) > 1:  # in order, so that two requests which return slots of the same items cannot wait for each other
        list(Item.objects.filter(pk__in=slots).select_for_update().order_by("pk").values_list("pk"))
    for count in set(slots.values()):
        items = [item for item, found in slots.items() if found == count]
        Item.objects.filter(pk__in=items).update(open_slots=F("open_slots") + count, given_back=True)


def return_slot(item_id: int) -> None:
    """Reopen one slot of an item and mark the item as given back."""
    _return_slots(Counter([item_id]))


_FIRST_REPEAT = Prepared(
    lambda annotator, campaign: Lease.objects.filter(
        annotator_id=annotator, item__campaign_id=campaign, status=Lease.Status.PLANNED
    ).order_by("due_after", "pk")[:1],
    annotator=int, campaign=int,
)  # fmt: skip


def _issue_next(
    membership: Membership, *, now: datetime, expires_at: datetime, wait: bool, only_repeats: bool
) -> Lease | None:
    held = {"status": Lease.Status.HELD, "issued_at": now, "expires_at": expires_at}
    repeat = _FIRST_REPEAT.first(annotator=membership.annotator_id, campaign=membership.campaign_id)
    is_due = repeat is not None and (repeat.due_after or 0) <= membership.answered + membership.repeated
    drawn = None if is_due or only_repeats else _draw_next(membership, wait=wait)
    if drawn is None:
        # Nothing else is left: ask repeats before they are due.
        if repeat is None:
            return None
        Lease.objects.filter(pk=repeat.pk).update(**held)
        return _with_images(Lease.objects.all()).get(pk=repeat.pk)
    return _issue_lease(drawn, membership, held)


_DRAWN = PreparedUpdate(
    lambda membership, cursor, audit_cursor, given: (
        Membership.objects.filter(pk=membership), {"cursor": cursor, "audit_cursor": audit_cursor, "given": given}
    ),
    membership=int, cursor=int, audit_cursor=int, given=int,
)  # fmt: skip


def _draw_next(membership: Membership, *, wait: bool) -> queueing.Draw | None:
    before = (membership.cursor, membership.audit_cursor)
    check = attention.next_check(membership) if membership.campaign.check_share else None
    drawn = queueing.Draw(check, Lease.Drawn.CHECK) if check else queueing.next_item(membership, wait=wait)
    membership.given += drawn is not None
    if drawn or before != (membership.cursor, membership.audit_cursor):
        _DRAWN(
            membership=membership.pk, cursor=membership.cursor, audit_cursor=membership.audit_cursor,
            given=membership.given,
        )  # fmt: skip
    return drawn


_SLOT_TAKEN = PreparedUpdate(lambda item: (Item.objects.filter(pk=item), {"open_slots": F("open_slots") - 1}), item=int)
_FIRST_LEASE = Prepared(
    lambda item, annotator: Lease.objects.filter(item_id=item, annotator_id=annotator, is_repeat=False)[:1],
    item=int, annotator=int,
)  # fmt: skip


def _issue_lease(drawn: queueing.Draw, membership: Membership, held: dict) -> Lease:
    item = drawn.item
    if drawn.how != Lease.Drawn.CHECK:
        _SLOT_TAKEN(item=item.pk)
    lease = _FIRST_LEASE.first(item=item.pk, annotator=membership.annotator_id)
    if lease:  # it had expired
        Lease.objects.filter(pk=lease.pk).update(**held, drawn=drawn.how)
        lease.refresh_from_db()
    else:
        lease = Lease.objects.create(
            item=item,
            annotator_id=membership.annotator_id,
            left_is_first=queueing.draw_side(item, membership),
            drawn=drawn.how,
            **held,
        )
    lease.item = item
    return lease
