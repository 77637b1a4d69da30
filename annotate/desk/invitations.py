"""Join a campaign with an invitation link: one place for a browser, and a limited number from one address.

The page of the link gives the browser a random cookie. Whoever opens the link there again continues as the person who
took the place. A client that discards cookies is limited by its address.
"""

import hashlib
import math
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from annotate.accounts import guest_links
from annotate.accounts.sign_in import hashed_address
from annotate.common import audit_log
from annotate.common.refusals import Refused
from annotate.desk import participants, recruitment
from annotate.models import Invitation, Membership, RecentJoin, User

WINDOW = timedelta(minutes=10)
COOKIE = "browser"
COOKIE_AGE = timedelta(days=365)


class TooManyJoins(Refused):
    """Joining is refused for the next `retry_after` seconds."""

    def __init__(self, retry_after: int) -> None:
        minutes = math.ceil(retry_after / 60)
        reason = _("Many people have just joined from your network.")
        wait = ngettext("Wait %d minute, then try again.", "Wait %d minutes, then try again.", minutes) % minutes
        super().__init__("too_many_joins", f"{reason} {wait}")
        self.retry_after = retry_after


def require_place(invitation: Invitation) -> int:
    """Return the number of comparisons for a new participant. Raises `Refused` if nobody can join by this link."""
    if invitation.revoked_at:
        raise Refused("invitation_revoked", _("This invitation was revoked. Ask for a new link."))
    if invitation.expires_at and invitation.expires_at < timezone.now():
        raise Refused("invitation_expired", _("This invitation has expired. Ask for a new link."))
    if invitation.taken >= invitation.places:
        raise Refused("invitation_full", _("All places of this invitation are taken. Thank you for your interest."))
    return participants.comparisons_for_newcomer(invitation.campaign)


@transaction.atomic
def join(
    *, token: str, browser: str = "", person: User | None = None, query: Mapping[str, str] | None = None
) -> Membership:
    """Take a place of an invitation: for `person`, or for a new guest with a pseudonym. browser: its cookie; query: of
    the link, in which a recruitment service names the participant.

    A member takes no second place, nor does a browser that took one, or a participant of a service. Raises `Refused`
    for an invitation that is unknown, revoked, expired or full, for a removed person, and if there is nothing left to
    compare.
    """
    invitation = (
        Invitation.objects.select_for_update(of=("self",)).select_related("campaign").filter(token=token).first()
    )
    if invitation is None:
        raise Refused("no_such_invitation", unknown_invitation())
    campaign = invitation.campaign
    participant = None if person else recruitment.participant_of(campaign, query or {})
    if person:
        earlier = campaign.memberships.filter(annotator=person).first()
    else:
        earlier = taken_by(invitation, browser, participant)
    if earlier:
        _require_can_continue(earlier, person)
        return earlier
    require_place(invitation)
    Invitation.objects.filter(pk=invitation.pk).update(taken=F("taken") + 1)
    person = person or _new_guest(invitation)
    audit_log.record(actor=person, action="join", target=campaign, invitation=invitation.pk)
    return Membership.objects.create(
        campaign=campaign,
        annotator=person,
        invitation=invitation,
        browser=_sha256(browser) if browser else "",
        **(participant.fields if participant else {}),
    )


def taken_by(
    invitation: Invitation, browser: str, participant: recruitment.Participant | None = None
) -> Membership | None:
    """Return the membership for which this browser took a place of the invitation, or this participant one of the
    campaign: a service's participant continues on every device, and two of them may share a browser."""
    if participant:
        members = Membership.objects.filter(campaign=invitation.campaign_id, external_hash=participant.hash)
        return members.select_related("annotator").first()
    return invitation.takers.filter(browser=_sha256(browser)).select_related("annotator").first() if browser else None


def _require_can_continue(earlier: Membership, person: User | None) -> None:
    if earlier.removed_at:
        raise Refused("removed", _("You were removed from this campaign. Ask the lead if this is a mistake."))
    if person is None and not earlier.annotator.guest:
        raise Refused("has_account", _("A person with an account has joined with this browser. Sign in to continue."))
    if person is None:
        guest_links.require_open(earlier.annotator)


def _new_guest(invitation: Invitation) -> User:
    number = invitation.taken + 1
    while User.objects.filter(username=f"guest-{invitation.pk}-{number}").exists():
        number += 1  # a place that was freed keeps the name of its guest
    guest = User(username=f"guest-{invitation.pk}-{number}", guest=True)
    guest.set_unusable_password()
    guest.save()
    guest_links.renew(guest)
    return guest


@contextmanager
def limited(request: HttpRequest, *, token: str, browser: str, person: User | None) -> Iterator[None]:
    """Count a join from the request's address, unless it fails. Whoever has joined before is not counted. Raises
    `TooManyJoins`."""
    own = Q(annotator=person, campaign__invitations__token=token)
    if Membership.objects.filter(own if person else Q(invitation__token=token, browser=_sha256(browser))).exists():
        yield
        return
    now = timezone.now()
    RecentJoin.objects.filter(at__lt=now - 2 * WINDOW).delete()
    attempt = RecentJoin.objects.create(address=hashed_address(request), at=now)
    earlier = RecentJoin.objects.filter(address=attempt.address, at__gt=now - WINDOW).exclude(pk=attempt.pk)
    latest = list(earlier.order_by("-at").values_list("at", flat=True)[: settings.JOIN_LIMIT])
    if len(latest) >= settings.JOIN_LIMIT:
        attempt.delete()
        raise TooManyJoins(max(1, math.ceil((latest[-1] + WINDOW - now).total_seconds())))
    try:
        yield
    except Refused:
        attempt.delete()
        raise


def browser_of(request: HttpRequest) -> str:
    """Return the cookie by which the browser is recognised; an empty string if it has none."""
    return request.COOKIES.get(COOKIE, "")[:64]


def give_cookie(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Let the browser be recognised when it comes back."""
    if not browser_of(request):
        response.set_cookie(
            COOKIE,
            secrets.token_urlsafe(32),
            max_age=COOKIE_AGE,
            secure=settings.SESSION_COOKIE_SECURE,
            path=settings.SESSION_COOKIE_PATH,
            httponly=True,
            samesite="Lax",
        )
    return response


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def unknown_invitation() -> str:
    return _("This invitation does not exist. Ask for a new link.")
