"""Giving out items and storing answers. Every promise about labels is kept here and by the constraints:

- an item goes to as many annotators as the overlap asks, never more (`Item.open_slots` never below 0);
- an annotator has one lease per item, and a judgement belongs to one revision of one lease;
- a request carries a key, and the same key is one judgement however often it arrives;
- a function returns after its transaction has committed: what is acknowledged is on the disk.

Every function first locks the annotator's membership, then a lease, then an item: two tabs of one person
take turns, and no two requests wait for each other in a ring.
"""

import hashlib
import uuid
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from annotate.models import Campaign, Item, Judgement, Lease, Membership, User
from annotate.services import refits


class Refused(Exception):
    """The request cannot be done; the message says why and what to do. `code` is for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def _lock_membership(*, annotator: User, campaign: Campaign) -> Membership:
    membership = Membership.objects.select_for_update().filter(annotator=annotator, campaign=campaign).first()
    if membership is None:
        raise Refused("not_a_member", f"You are not a member of “{campaign}”. Ask the lead to add you.")
    membership.campaign = campaign
    return membership


def _lock_own_lease(*, annotator: User, token: uuid.UUID) -> Lease | None:
    """The lease with this token if it is the annotator's, with their membership locked before it."""
    memberships = Membership.objects.select_for_update(of=("self",))
    if not memberships.filter(annotator=annotator, campaign__items__leases__token=token).first():
        return None
    leases = Lease.objects.select_for_update(of=("self",)).select_related("item__campaign")
    return leases.filter(token=token, annotator=annotator).first()


def held_leases(*, annotator: User, campaign: Campaign) -> QuerySet[Lease]:
    """What the annotator holds, in the order it was given out (an undone item comes first again)."""
    return (
        Lease.objects.filter(annotator=annotator, item__campaign=campaign, status=Lease.Status.HELD)
        .select_related("item__pair__face", "item__pair__first", "item__pair__second")
        .order_by("issued_at", "pk")
    )


@transaction.atomic
def lease_items(*, annotator: User, campaign: Campaign, depth: int = 1) -> list[Lease]:
    """Up to `depth` leases of this annotator: those held, renewed, then new ones. Empty: nothing is left.

    1. Lock the membership, so that two tabs of one annotator get the same items.
    2. Renew what is held; asking again changes nothing else.
    3. Return expired leases of others to their items.
    4. Give out the next open items behind the annotator's cursor, then once from the start.
    """
    if not campaign.open:
        raise Refused("campaign_closed", f"“{campaign}” is paused. Your answers are kept; come back later.")
    membership = _lock_membership(annotator=annotator, campaign=campaign)
    now = timezone.now()
    expires_at = now + timedelta(seconds=campaign.lease_seconds)
    leases = list(held_leases(annotator=annotator, campaign=campaign)[:depth])
    Lease.objects.filter(pk__in=[lease.pk for lease in leases]).update(expires_at=expires_at)
    for lease in leases:
        lease.expires_at = expires_at
    if len(leases) < depth:
        _return_expired_leases(now=now)
    while len(leases) < depth:
        item = _next_open_item(membership)
        if item is None:
            break
        leases.append(_issue_lease(item, membership, now=now, expires_at=expires_at))
    return leases


def _return_expired_leases(*, now: datetime) -> None:
    expired = (
        Lease.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(status=Lease.Status.HELD, expires_at__lt=now)
        .order_by("item_id")
    )
    for pk, item_id in expired.values_list("pk", "item_id"):
        if Lease.objects.filter(pk=pk, status=Lease.Status.HELD).update(status=Lease.Status.EXPIRED):
            Item.objects.filter(pk=item_id).update(open_slots=F("open_slots") + 1)


def _next_open_item(membership: Membership) -> Item | None:
    """The first item with an open slot that this annotator has neither answered nor skipped."""
    closed_to_them = Lease.objects.filter(item=OuterRef("pk"), annotator_id=membership.annotator_id).exclude(
        status=Lease.Status.EXPIRED
    )
    open_items = (
        Item.objects.select_for_update(skip_locked=True, of=("self",))
        .filter(campaign_id=membership.campaign_id, open_slots__gt=0)
        .filter(~Exists(closed_to_them))
        .select_related("pair__face", "pair__first", "pair__second")
        .order_by("position")
    )
    return open_items.filter(position__gt=membership.cursor).first() or open_items.first()


def _issue_lease(item: Item, membership: Membership, *, now: datetime, expires_at: datetime) -> Lease:
    Item.objects.filter(pk=item.pk).update(open_slots=F("open_slots") - 1)
    Membership.objects.filter(pk=membership.pk).update(cursor=item.position)
    membership.cursor = item.position
    held = {"status": Lease.Status.HELD, "issued_at": now, "expires_at": expires_at}
    expired = Lease.objects.filter(item=item, annotator_id=membership.annotator_id)
    if expired.update(**held):
        lease = expired.get()
    else:
        side = _draw_side(item, membership)
        lease = Lease.objects.create(item=item, annotator_id=membership.annotator_id, left_is_first=side, **held)
    lease.item = item
    return lease


def _draw_side(item: Item, membership: Membership) -> bool:
    """Random per annotator and item, from the campaign's stored seed."""
    text = f"{membership.campaign.seed}/{membership.annotator_id}/{item.pk}"
    return bool(hashlib.blake2b(text.encode(), digest_size=1).digest()[0] & 1)


@transaction.atomic
def submit_judgement(
    *,
    annotator: User,
    lease_token: uuid.UUID,
    key: uuid.UUID,
    choice: str,
    criterion: str | None = None,
    seconds: float | None = None,
    item_id: int | None = None,
) -> tuple[Judgement, bool]:
    """Store an answer once. `choice` is left, right or cant_tell. Returns (judgement, newly stored).

    The same key again returns the first answer. An answer that comes after its lease expired is taken
    if the item still has room, and refused in words if others have filled it.
    """
    # Locked before the key is looked up: of two equal requests the second finds the first's row.
    lease = _lock_own_lease(annotator=annotator, token=lease_token)
    if first := Judgement.objects.select_related("lease").filter(key=key).first():
        if first.lease.annotator_id != annotator.pk:
            raise Refused("key_in_use", "This key belongs to another request. Send a new key.")
        return first, False
    if lease is None or (item_id is not None and lease.item_id != item_id):
        raise Refused("no_such_lease", "This pair is not held by you. Ask for the next pair.")
    if lease.status in (Lease.Status.ANSWERED, Lease.Status.SKIPPED):
        raise Refused(
            "already_closed",
            "You have already dealt with this pair, perhaps in another window. "
            "The earlier answer stands; use Undo to change it.",
        )
    if not lease.item.campaign.open:
        raise Refused("campaign_closed", f"“{lease.item.campaign}” was paused; this answer was not stored.")
    if lease.status == Lease.Status.EXPIRED and not _take_slot(lease.item_id):
        raise Refused(
            "lease_expired",
            "Your time for this pair ran out and others have answered it. This answer was not stored.",
        )
    judgement = Judgement.objects.create(
        key=key,
        lease=lease,
        revision=lease.judgements.count(),
        choice=_first_or_second(choice, left_is_first=lease.left_is_first),
        criterion=criterion or "",
        left_is_first=lease.left_is_first,
        seconds=seconds,
    )
    Lease.objects.filter(pk=lease.pk).update(
        status=Lease.Status.ANSWERED, judgement=judgement, closed_at=timezone.now()
    )
    _count(lease, answered=+1)
    refits.request_refit()
    return judgement, True


def _take_slot(item_id: int) -> bool:
    return bool(Item.objects.filter(pk=item_id, open_slots__gt=0).update(open_slots=F("open_slots") - 1))


def _first_or_second(choice: str, *, left_is_first: bool) -> str:
    if choice == "cant_tell":
        return Judgement.Choice.CANT_TELL
    return Judgement.Choice.FIRST if (choice == "left") == left_is_first else Judgement.Choice.SECOND


def _count(lease: Lease, *, answered: int = 0, skipped: int = 0) -> None:
    Membership.objects.filter(annotator_id=lease.annotator_id, campaign_id=lease.item.campaign_id).update(
        answered=F("answered") + answered, skipped=F("skipped") + skipped
    )


@transaction.atomic
def skip_item(*, annotator: User, lease_token: uuid.UUID, reason: str) -> Lease:
    """Give the item back for others, with a reason; it is not offered to this annotator again."""
    lease = _lock_own_lease(annotator=annotator, token=lease_token)
    if lease is None:
        raise Refused("no_such_lease", "This pair is not held by you. Ask for the next pair.")
    if lease.status == Lease.Status.SKIPPED:
        return lease
    if lease.status == Lease.Status.ANSWERED:
        raise Refused("already_closed", "You have already answered this pair. Use Undo to take it back.")
    if lease.status == Lease.Status.HELD:
        Item.objects.filter(pk=lease.item_id).update(open_slots=F("open_slots") + 1)
    Lease.objects.filter(pk=lease.pk).update(status=Lease.Status.SKIPPED, skip_reason=reason, closed_at=timezone.now())
    _count(lease, skipped=+1)
    lease.refresh_from_db()
    return lease


@transaction.atomic
def undo_last(*, annotator: User, campaign: Campaign, expected: uuid.UUID | None = None) -> Lease:
    """Take back the annotator's last answer or skip; the pair is shown again, sides unchanged.

    `expected` is the token of the lease the client believes to be the last: a repeated request then
    undoes nothing more.
    """
    _lock_membership(annotator=annotator, campaign=campaign)
    last = (
        Lease.objects.select_for_update(of=("self",))
        .select_related("item__campaign")
        .filter(
            annotator=annotator,
            item__campaign=campaign,
            status__in=(Lease.Status.ANSWERED, Lease.Status.SKIPPED),
        )
        .order_by("-closed_at", "-pk")
        .first()
    )
    if last is None or (expected is not None and last.token != expected):
        raise Refused("nothing_to_undo", "There is no answer of yours to take back.")
    if last.status == Lease.Status.SKIPPED:
        if not _take_slot(last.item_id):
            raise Refused("item_full", "Others have answered the pair you skipped; it needs no more answers.")
        _count(last, skipped=-1)
    else:
        Judgement.objects.create(
            key=uuid.uuid4(),
            lease=last,
            revision=last.judgements.count(),
            choice=Judgement.Choice.UNDO,
            left_is_first=last.left_is_first,
        )
        _count(last, answered=-1)
    Lease.objects.filter(pk=last.pk).update(
        status=Lease.Status.HELD,
        judgement=None,
        closed_at=None,
        skip_reason="",
        expires_at=timezone.now() + timedelta(seconds=campaign.lease_seconds),
    )
    refits.request_refit()
    return held_leases(annotator=annotator, campaign=campaign).get(pk=last.pk)
