"""Leases: which items an annotator holds, how they are issued, and how they return."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.common.refusals import Refused
from annotate.desk import onboarding, queueing
from annotate.models import Campaign, Item, Lease, Membership, User


def lock_membership(*, annotator: User, campaign: Campaign) -> Membership:
    """Lock the membership's row for the transaction, before any lease or item. Raises `Refused` if there is none."""
    membership = Membership.objects.select_for_update().filter(annotator=annotator, campaign=campaign).first()
    if membership is None:
        raise Refused("not_a_member", _("You are not a member of “%s”. Ask the lead to add you.") % campaign)
    membership.campaign = campaign
    return membership


def held_leases(*, annotator: User, campaign: Campaign) -> QuerySet[Lease]:
    """What the annotator holds, in the order it was given out (an undone item comes first again)."""
    held = Lease.objects.filter(annotator=annotator, item__campaign=campaign, status=Lease.Status.HELD)
    return _with_images(held).order_by("issued_at", "pk")


def _with_images(leases: QuerySet[Lease]) -> QuerySet[Lease]:
    return leases.select_related("item__pair__face", "item__pair__first", "item__pair__second")


def lease_items(*, annotator: User, campaign: Campaign, depth: int = 1) -> list[Lease]:
    """Up to `depth` leases of this annotator: those held, renewed, then new ones. Empty: nothing is left.

    1. Lock the membership, so that two tabs of one annotator get the same items.
    2. Renew what is held; asking again changes nothing else.
    3. Return expired leases of others to their items.
    4. Give out the mirrored repeats that are due, then the next items of the campaign's order (see `queueing`).

    What others are taking at the same moment is passed over. Only if there is nothing else it is waited for, in a
    transaction that holds no other item, so that no two requests wait for each other.
    """
    leases, is_passed_over = _lease_items(annotator=annotator, campaign=campaign, depth=depth)
    if is_passed_over:
        leases, _ = _lease_items(annotator=annotator, campaign=campaign, depth=1, wait=True)
    return leases


@transaction.atomic
def _lease_items(*, annotator: User, campaign: Campaign, depth: int, wait: bool = False) -> tuple[list[Lease], bool]:
    """The leases, and whether there are none only because others were taking what is left."""
    if not campaign.open:
        raise Refused("campaign_closed", _("“%s” is paused. Your answers are kept; come back later.") % campaign)
    membership = lock_membership(annotator=annotator, campaign=campaign)
    onboarding.require_ready(membership)
    now = timezone.now()
    expires_at = now + timedelta(seconds=campaign.lease_seconds)
    # Locked: one that runs out just now is either renewed or given back, never both.
    held = held_leases(annotator=annotator, campaign=campaign).select_for_update(of=("self",))
    leases = list(held[:depth])
    Lease.objects.filter(pk__in=[lease.pk for lease in leases]).update(expires_at=expires_at)
    for lease in leases:
        lease.expires_at = expires_at
    if len(leases) < depth and not wait:
        _return_expired_leases(now=now)
    while len(leases) < depth:
        following = _issue_next(membership, now=now, expires_at=expires_at, wait=wait)
        if following is None:
            break
        leases.append(following)
    return leases, not leases and not wait and queueing.is_passed_over(membership)


def _return_expired_leases(*, now: datetime) -> None:
    give_back(Lease.objects.filter(status=Lease.Status.HELD, expires_at__lt=now), skip_locked=True)


def give_back(held: QuerySet[Lease], *, skip_locked: bool = False) -> int:
    """Return held leases to their items, for others; a repeat goes back to its annotator's plan. Returns how many."""
    locked = held.select_for_update(skip_locked=skip_locked, of=("self",)).order_by("item_id")
    returned = 0
    for pk, item_id, is_repeat in list(locked.values_list("pk", "item_id", "is_repeat")):
        status = Lease.Status.PLANNED if is_repeat else Lease.Status.EXPIRED
        if Lease.objects.filter(pk=pk, status=Lease.Status.HELD).update(status=status):
            returned += 1
            if not is_repeat:
                return_slot(item_id)
    return returned


def return_slot(item_id: int) -> None:
    """Open one more slot of an item, and mark the item as given back."""
    Item.objects.filter(pk=item_id).update(open_slots=F("open_slots") + 1, given_back=True)


def _issue_next(membership: Membership, *, now: datetime, expires_at: datetime, wait: bool) -> Lease | None:
    held = {"status": Lease.Status.HELD, "issued_at": now, "expires_at": expires_at}
    repeats = Lease.objects.filter(
        annotator_id=membership.annotator_id,
        item__campaign_id=membership.campaign_id,
        status=Lease.Status.PLANNED,
    ).order_by("due_after", "pk")
    repeat = repeats.filter(due_after__lte=membership.answered + membership.repeated).first()
    drawn = None if repeat else _draw_next(membership, wait=wait)
    if drawn is None:
        # Nothing else is left: repeats that are not due yet are asked all the same.
        repeat = repeat or repeats.first()
        if repeat is None:
            return None
        Lease.objects.filter(pk=repeat.pk).update(**held)
        return _with_images(Lease.objects.all()).get(pk=repeat.pk)
    return _issue_lease(drawn, membership, held)


def _draw_next(membership: Membership, *, wait: bool) -> queueing.Draw | None:
    before = (membership.cursor, membership.audit_cursor)
    drawn = queueing.next_item(membership, wait=wait)
    membership.given += drawn is not None
    if drawn or before != (membership.cursor, membership.audit_cursor):
        membership.save(update_fields=["cursor", "audit_cursor", "given"])
    return drawn


def _issue_lease(drawn: queueing.Draw, membership: Membership, held: dict) -> Lease:
    item = drawn.item
    Item.objects.filter(pk=item.pk).update(open_slots=F("open_slots") - 1)
    expired = Lease.objects.filter(item=item, annotator_id=membership.annotator_id, is_repeat=False)
    if expired.update(**held, drawn=drawn.how):
        lease = expired.get()
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
