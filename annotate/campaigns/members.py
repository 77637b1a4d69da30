"""Members of a campaign and its invitation links: what a lead can end, and take back. Answers always stay."""

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from annotate.accounts import guest_links
from annotate.common import audit_log
from annotate.common.refusals import Refused
from annotate.desk import leasing
from annotate.models import Campaign, Invitation, Judgement, Lease, Membership, Recruitment, User


@transaction.atomic
def remove(*, campaign: Campaign, person: User, actor: User) -> bool:
    """End a membership and return its held items. A guest of no other campaign cannot sign in any more.

    Returns whether a place of an invitation became free, because its taker never answered. Raises `Refused`.
    """
    membership = leasing.lock_membership(annotator=person, campaign=campaign)
    released = leasing.give_back(
        Lease.objects.filter(item__campaign=campaign, annotator=person, status=Lease.Status.HELD)
    )
    answered = Judgement.objects.filter(lease__annotator=person, lease__item__campaign=campaign).exists()
    is_freed = False
    if membership.invitation_id and not answered:
        is_freed = bool(
            Invitation.objects.filter(pk=membership.invitation_id, taken__gt=0).update(taken=F("taken") - 1)
        )
        Membership.objects.filter(pk=membership.pk).update(invitation=None, browser="")
    # The hash stays: the participant is recognised, and cannot join again.
    Membership.objects.filter(pk=membership.pk).update(
        removed_at=timezone.now(), external_id="", external_study="", external_session=""
    )
    if person.guest and not person.memberships.current().exists():
        person.set_unusable_password()  # ends the sessions
        person.is_active = False
        person.save(update_fields=["password", "is_active"])
    audit_log.record(
        actor=actor, action="remove-member", target=campaign, person=person.pk, released=released, place_freed=is_freed
    )
    return is_freed


@transaction.atomic
def readmit(*, campaign: Campaign, person: User, actor: User) -> None:
    """Take a removal back. A guest gets a new return link."""
    memberships = Membership.objects.filter(campaign=campaign, annotator=person).exclude(removed_at=None)
    if not memberships.update(removed_at=None):
        raise Refused("not_removed", _("%s is a member already.") % person)
    if person.guest:
        person.is_active = True
        person.save(update_fields=["is_active"])
        guest_links.replace(person)
    audit_log.record(actor=actor, action="readmit-member", target=campaign, person=person.pk)


@transaction.atomic
def replace_return_link(*, campaign: Campaign, guest: User, actor: User) -> None:
    """End a guest's return link and sessions; `guest_links.signed` then gives the new link. Raises `Refused`."""
    leasing.lock_membership(annotator=guest, campaign=campaign)
    if not guest.guest:
        raise Refused("not_a_guest", _("%s has an account with a password and needs no return link.") % guest)
    guest_links.replace(guest)
    audit_log.record(actor=actor, action="replace-return-link", target=campaign, person=guest.pk)


@transaction.atomic
def revoke_invitation(*, invitation: Invitation, actor: User) -> None:
    """End an invitation link. Whoever joined with it stays a member."""
    if Invitation.objects.filter(pk=invitation.pk, revoked_at=None).update(revoked_at=timezone.now()):
        audit_log.record(actor=actor, action="revoke-invitation", target=invitation.campaign, invitation=invitation.pk)


@transaction.atomic
def recruit(*, campaign: Campaign, recruitment: Recruitment | None, actor: User) -> None:
    """Store through which service a campaign's participants come; None: through none."""
    if recruitment is None:
        Recruitment.objects.filter(campaign=campaign).delete()
    else:
        recruitment.campaign = campaign
        recruitment.save()
    service = recruitment.service if recruitment else ""
    audit_log.record(actor=actor, action="set-recruitment", target=campaign, service=service)
