"""The link with which a guest, who has no password, signs in again on any device.

It ends when it has not been used for GUEST_LINK_DAYS, when a lead replaces it or removes the guest, and while every
campaign of the guest is paused.
"""

from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.common.refusals import Refused
from annotate.models import GuestLink, User

SIGNER = signing.TimestampSigner(salt="annotate.guest")
ENDED = "return_link_ended"


def renew(guest: User) -> GuestLink:
    """Make the guest's link valid for another GUEST_LINK_DAYS."""
    expires_at = timezone.now() + timedelta(days=settings.GUEST_LINK_DAYS)
    link, is_new = GuestLink.objects.get_or_create(guest=guest, defaults={"expires_at": expires_at})
    if not is_new:
        GuestLink.objects.filter(pk=link.pk).update(expires_at=expires_at)
        link.expires_at = expires_at
    return link


def signed(guest: User) -> str:
    """Return the part of the address that identifies the guest and the version of the link."""
    link = GuestLink.objects.filter(guest=guest).first() or renew(guest)
    return SIGNER.sign(f"{guest.pk}.{link.version}")


def replace(guest: User) -> GuestLink:
    """End the guest's link and sessions. Return the new link."""
    guest.set_unusable_password()  # a new random value, to which the sessions no longer fit
    guest.save(update_fields=["password"])
    link = renew(guest)
    link.version += 1
    link.save(update_fields=["version"])
    return link


def guest_of(signed_value: str) -> User:
    """Return the guest of a link. Raises `signing.BadSignature` for an altered link, `Refused` for one that ended."""
    # A link from before there were versions is the first version.
    pk, _dot, version = SIGNER.unsign(signed_value).partition(".")
    link = GuestLink.objects.select_related("guest").filter(guest_id=int(pk), version=int(version or 1)).first()
    if link is None:
        raise Refused(ENDED, _ended())
    require_open(link.guest)
    return link.guest


def require_open(guest: User) -> None:
    """Raise `Refused` unless the guest may sign in again."""
    link = GuestLink.objects.filter(guest=guest).first()
    if link is None or link.expires_at < timezone.now():
        raise Refused(ENDED, _ended())
    if not (guest.guest and guest.is_active) or guest.is_staff:
        raise Refused(ENDED, _ended())
    if not guest.memberships.current().filter(campaign__open=True).exists():
        raise Refused(ENDED, _("The campaign is paused, so you cannot continue now. Your answers are kept."))


def _ended() -> str:
    return _("This link has ended. Ask the person who invited you for a new one.")
