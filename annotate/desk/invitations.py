"""Join a campaign with an invitation link."""

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.common import audit_log
from annotate.common.refusals import Refused
from annotate.desk import participants
from annotate.models import Invitation, Membership, User


@transaction.atomic
def join(*, token: str, person: User | None = None) -> Membership:
    """Take a place of an invitation: for `person`, or for a new guest with a pseudonym. A member takes no second
    place. Raises `Refused` for an unknown, expired or full invitation, and if there is nothing left to compare."""
    invitation = (
        Invitation.objects.select_for_update(of=("self",)).select_related("campaign").filter(token=token).first()
    )
    if invitation is None:
        raise Refused("no_such_invitation", unknown_invitation())
    campaign = invitation.campaign
    if person and (member := campaign.memberships.filter(annotator=person).first()):
        return member
    require_place(invitation)
    Invitation.objects.filter(pk=invitation.pk).update(taken=F("taken") + 1)
    if person is None:
        person = User(username=f"guest-{invitation.pk}-{invitation.taken + 1}", guest=True)
        person.set_unusable_password()
        person.save()
    audit_log.record(actor=person, action="join", target=campaign)
    return Membership.objects.create(campaign=campaign, annotator=person)


def require_place(invitation: Invitation) -> int:
    """Return the number of comparisons for a new participant. Raises `Refused` if nobody can join by this link."""
    if invitation.expires_at and invitation.expires_at < timezone.now():
        raise Refused("invitation_expired", _("This invitation has expired. Ask for a new link."))
    if invitation.taken >= invitation.places:
        raise Refused("invitation_full", _("All places of this invitation are taken. Thank you for your interest."))
    return participants.comparisons_for_newcomer(invitation.campaign)


def unknown_invitation() -> str:
    return _("This invitation does not exist. Ask for a new link.")
