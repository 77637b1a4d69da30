"""Store, skip and undo answers. These functions and the database constraints guarantee:

- an item gets as many annotators as the overlap, never more (`Item.open_slots` never drops below 0);
- an annotator has one lease per item (and one for its repeat), and a judgement is one revision of a lease;
- a request carries a key, and the same key stores one judgement however often it arrives;
- a function returns after its transaction has committed: an acknowledged answer is durable.

Every function locks the annotator's membership first, then a lease, then an item. This serialises two tabs of one
annotator and rules out deadlocks.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import cache

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.common.prepared import Prepared, PreparedUpdate
from annotate.common.refusals import Refused
from annotate.common.sides import choice_of
from annotate.desk import attention, leasing, queueing
from annotate.desk.leasing import held_leases, lock_membership, return_slot
from annotate.models import Campaign, GoldSet, Item, Judgement, Lease, Membership, User
from annotate.models.campaigns import Question
from annotate.predictor import refit_requests

_MEMBERSHIP = Prepared(
    lambda annotator, token: (
        Membership.objects.current()
        .select_for_update(of=("self",))
        .filter(annotator_id=annotator, campaign__items__leases__token=token)[:1]
    ),
    annotator=int, token=uuid.UUID,
)  # fmt: skip
_OWN_LEASE = Prepared(
    lambda annotator, token: (
        Lease.objects.select_for_update(of=("self",))
        .select_related("item__campaign")
        .filter(token=token, annotator_id=annotator)[:1]
    ),
    annotator=int, token=uuid.UUID,
)  # fmt: skip


def _lock_own_lease(*, annotator: User, token: uuid.UUID) -> tuple[Membership | None, Lease | None]:
    """Lock the annotator's membership, then their lease with this token. No lease if it is not theirs."""
    membership = _MEMBERSHIP.first(annotator=annotator.pk, token=token)
    return membership, _OWN_LEASE.first(annotator=annotator.pk, token=token) if membership else None


_STORED = Prepared(lambda key: Judgement.objects.select_related("lease__item").filter(key=key)[:1], key=uuid.UUID)
_LAST_REVISION = Prepared(
    lambda lease: (
        Judgement.objects.filter(lease_id=lease).order_by("-revision").values_list("revision", flat=True)[:1]
    ),
    lease=int,
)  # fmt: skip
_ANSWERED = PreparedUpdate(
    lambda lease, judgement, now: (
        Lease.objects.filter(pk=lease),
        {"status": Lease.Status.ANSWERED, "judgement_id": judgement, "closed_at": now},
    ),
    lease=int, judgement=int, now=datetime,
)  # fmt: skip


@transaction.atomic
def submit_judgement(
    *,
    annotator: User,
    lease_token: uuid.UUID,
    key: uuid.UUID,
    choice: str,
    criterion: str | None = None,
    kind: str = "",
    note: str = "",
    seconds: float | None = None,
    tools: Mapping[str, int] | None = None,
    item_id: int | None = None,
    change: bool = False,
) -> tuple[Judgement, bool]:
    """Store an answer once. `choice` is left, right or cant_tell; `kind` is a `Judgement.CantTellKind`, if the campaign
    asks for it; `tools` counts the uses of the viewer's tools. Returns (judgement, newly stored).

    The same key for the same lease returns the first answer. An answer to an expired lease is accepted while the item
    has an open slot. `change` replaces an earlier answer, which stays as an earlier revision. Raises `Refused`.
    """
    # Lock before looking up the key: of two equal requests, the second must find the first's row.
    membership, lease = _lock_own_lease(annotator=annotator, token=lease_token)
    if first := _STORED.first(key=key):
        is_same = first.lease.annotator_id == annotator.pk and first.lease.token == lease_token
        if not is_same or item_id not in (None, first.lease.item_id):
            raise Refused("key_in_use", _("This key belongs to another request. Send a new key."))
        return first, False
    if membership is None or lease is None or (item_id is not None and lease.item_id != item_id):
        raise Refused("no_such_lease", _("This pair is not held by you. Ask for the next pair."))
    if not lease.item.campaign.open:
        raise Refused("campaign_closed", _("“%s” was paused; this answer was not stored.") % lease.item.campaign)
    if membership.paused_at:
        raise Refused("member_paused", str(leasing.PAUSED))
    _require_question_fits(lease, criterion, kind)
    if change:
        _require_answered(lease)
    else:
        _require_unanswered(lease)
    judgement = Judgement.objects.create(
        key=key,
        lease=lease,
        revision=1 + _last_revision(lease),
        choice=choice_of(choice, left_is_first=lease.left_is_first),
        criterion=criterion or "",
        cant_tell_kind=kind,
        note=note.strip(),
        left_is_first=lease.left_is_first,
        seconds=seconds,
        tools=dict(tools or {}),
    )
    if change:
        Lease.objects.filter(pk=lease.pk).update(judgement=judgement)
    else:
        now = _closing_time(annotator)
        _ANSWERED(lease=lease.pk, judgement=judgement.pk, now=now)
        _count(lease, answered=+1)
        _plan_repeat(lease, now=now)
        _review_attention(lease)
    if lease.item.question == Question.PREFERENCE:
        refit_requests.request_refit()
    return judgement, True


def _last_revision(lease: Lease) -> int:
    """Return the number of the newest judgement, -1 if there is none."""
    last = _LAST_REVISION.first(lease=lease.pk)
    return -1 if last is None else last


def _require_question_fits(lease: Lease, criterion: str | None, kind: str) -> None:
    if kind and not lease.item.campaign.cant_tell_kinds:
        raise Refused(
            "no_kinds_here", _("This campaign asks for no kind of “can't tell”; send the answer without one.")
        )
    if criterion and lease.item.question != Question.PREFERENCE:
        raise Refused("no_rule_here", _("This question has no rules; send the answer without one."))


def _require_answered(lease: Lease) -> None:
    if lease.status != Lease.Status.ANSWERED:
        raise Refused("not_answered", _("You have not answered this pair, so there is no answer to change."))


def _require_unanswered(lease: Lease) -> None:
    """Raise `Refused` for a closed lease. An expired lease takes a slot again; refused if none is open."""
    if lease.status in (Lease.Status.ANSWERED, Lease.Status.SKIPPED):
        raise Refused(
            "already_closed",
            _(
                "You have already answered or skipped this pair, perhaps in another window. "
                "The earlier answer was kept; use Undo to change it."
            ),
        )
    if lease.status == Lease.Status.EXPIRED and lease.takes_slot and not _take_slot(lease.item_id):
        raise Refused(
            "lease_expired",
            _("Your time for this pair ran out and others have answered it. This answer was not stored."),
        )


def _take_slot(item_id: int) -> bool:
    return bool(Item.objects.filter(pk=item_id, open_slots__gt=0).update(open_slots=F("open_slots") - 1))


_LAST_CLOSED = Prepared(
    lambda annotator: (
        Lease.objects.filter(annotator_id=annotator, closed_at__isnull=False)
        .order_by("-closed_at")
        .values_list("closed_at", flat=True)[:1]
    ),
    annotator=int,
)  # fmt: skip


def _closing_time(annotator: User) -> datetime:
    """Return the current time, or just after the annotator's last closed lease if the clock was set back.

    Undo finds the last lease by this time.
    """
    last = _LAST_CLOSED.first(annotator=annotator.pk)
    now = timezone.now()
    return max(now, last + timedelta(microseconds=1)) if last else now


@cache
def _counted(counter: str) -> PreparedUpdate:
    return PreparedUpdate(
        lambda annotator, campaign, answered, skipped, now: (
            Membership.objects.filter(annotator_id=annotator, campaign_id=campaign),
            {counter: F(counter) + answered, "skipped": F("skipped") + skipped, "last_at": now},
        ),
        annotator=int, campaign=int, answered=int, skipped=int, now=datetime,
    )  # fmt: skip


def _count(lease: Lease, *, answered: int = 0, skipped: int = 0) -> None:
    is_check = lease.drawn == Lease.Drawn.CHECK
    counter = "checked" if is_check else "repeated" if lease.is_repeat else "answered"
    _counted(counter)(
        annotator=lease.annotator_id, campaign=lease.item.campaign_id, answered=answered, skipped=skipped,
        now=timezone.now(),
    )  # fmt: skip


def _plan_repeat(lease: Lease, *, now: datetime) -> None:
    """Plan a mirrored repeat for a share of the answers, to measure the annotator's consistency."""
    gap = queueing.draw_repeat(lease) if lease.takes_slot else None
    if gap is None:
        return
    membership = Membership.objects.get(annotator_id=lease.annotator_id, campaign_id=lease.item.campaign_id)
    Lease.objects.get_or_create(
        item_id=lease.item_id,
        annotator_id=lease.annotator_id,
        is_repeat=True,
        defaults={
            "status": Lease.Status.PLANNED,
            "drawn": Lease.Drawn.REPEAT,
            "due_after": membership.answered + membership.repeated + gap,
            "left_is_first": not lease.left_is_first,
            "issued_at": now,
            "expires_at": now,
        },
    )


def _review_attention(lease: Lease) -> None:
    if not lease.item.campaign.check_share:
        return
    membership = Membership.objects.get(annotator_id=lease.annotator_id, campaign_id=lease.item.campaign_id)
    membership.campaign = lease.item.campaign
    if attention.is_due(membership):
        attention.review(membership)


@transaction.atomic
def skip_item(*, annotator: User, lease_token: uuid.UUID, reason: str, note: str = "") -> Lease:
    """Return an item to other annotators, with a reason and perhaps a note. It is not offered to this annotator
    again."""
    _membership, lease = _lock_own_lease(annotator=annotator, token=lease_token)
    if lease is None:
        raise Refused("no_such_lease", _("This pair is not held by you. Ask for the next pair."))
    if lease.status == Lease.Status.SKIPPED:
        return lease
    if lease.status == Lease.Status.ANSWERED:
        raise Refused("already_closed", _("You have already answered this pair. Use Undo to change it."))
    if lease.status == Lease.Status.HELD and lease.takes_slot:
        return_slot(lease.item_id)
    Lease.objects.filter(pk=lease.pk).update(
        status=Lease.Status.SKIPPED, skip_reason=reason, skip_note=note.strip(), closed_at=_closing_time(annotator)
    )
    _count(lease, skipped=+1)
    lease.refresh_from_db()
    return lease


@transaction.atomic
def undo_last(*, annotator: User, campaign: Campaign, expected: uuid.UUID | None = None) -> Lease:
    """Undo the annotator's last answer or skip. The annotator holds the pair again, with the same sides.

    `expected` is the token of the lease that the client believes to be the last, so that a repeated request undoes
    nothing more.
    """
    lock_membership(annotator=annotator, campaign=campaign)
    if GoldSet.objects.filter(campaign=campaign, frozen_at__isnull=False).exists():
        raise Refused("frozen", _("“%s” is finished and frozen; its answers can no longer be changed.") % campaign)
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
        raise Refused("nothing_to_undo", _("You have no answer to undo."))
    if last.status == Lease.Status.SKIPPED:
        if last.takes_slot and not _take_slot(last.item_id):
            raise Refused("item_full", _("Others have answered the pair you skipped; it needs no more answers."))
        _count(last, skipped=-1)
    else:
        Judgement.objects.create(
            key=uuid.uuid4(),
            lease=last,
            revision=1 + _last_revision(last),
            choice=Judgement.Choice.UNDO,
            left_is_first=last.left_is_first,
        )
        _count(last, answered=-1)
        if not last.is_repeat:
            Lease.objects.filter(
                item_id=last.item_id, annotator=annotator, status=Lease.Status.PLANNED, judgements=None
            ).delete()
    Lease.objects.filter(pk=last.pk).update(
        status=Lease.Status.HELD,
        judgement=None,
        closed_at=None,
        skip_reason="",
        skip_note="",
        expires_at=timezone.now() + timedelta(seconds=campaign.lease_seconds),
    )
    if last.item.question == Question.PREFERENCE:
        refit_requests.request_refit()
    return held_leases(annotator=annotator, campaign=campaign).get(pk=last.pk)
