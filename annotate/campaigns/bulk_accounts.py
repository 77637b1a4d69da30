"""Accounts from a pasted list of names: each person is created, or invited if the name has an account already."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models.functions import Lower
from django.utils.translation import gettext as _

from annotate.accounts import guest_links
from annotate.campaigns import lifecycle
from annotate.common import audit_log
from annotate.common.refusals import Refused
from annotate.models import Campaign, User

PASSWORDS, LINKS = "passwords", "links"
MOST = {PASSWORDS: 50, LINKS: 500}  # storing a password takes a quarter of a second
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that is read wrongly from paper
GROUPS, GROUP = 4, 4  # 79 bits
FAULTS_SHOWN = 10


@dataclass(frozen=True)
class Invited:
    """One person of the list. password, link: what to hand out; both empty for an account that existed."""

    person: User
    password: str = ""
    signed: str = ""  # of a return link

    @property
    def existed(self) -> bool:
        return not (self.password or self.signed)


def password() -> str:
    return "-".join("".join(secrets.choice(ALPHABET) for _ in range(GROUP)) for _ in range(GROUPS))


@transaction.atomic
def create(*, campaign: Campaign, names: str, how: str, actor: User) -> list[Invited]:
    """Create an account for each name of the list, one on each line, and invite everyone. All or nothing.

    how: with passwords, or as guests with a link each. Raises `Refused` with the number of each faulty line.
    """
    lines = [(number, line.strip()) for number, line in enumerate(names.splitlines(), 1) if line.strip()]
    if not lines:
        raise Refused("malformed", _("Enter at least one name, one on each line."))
    if len(lines) > MOST[how]:
        raise Refused(
            "malformed",
            _("The list has %(n)s names; at most %(most)s are created at once. Divide the list.")
            % {"n": len(lines), "most": MOST[how]},
        )
    cleaned = [(number, User.normalize_username(name)) for number, name in lines]
    lowered = {name.lower() for _number, name in cleaned}
    accounts = User.objects.annotate(lowered=Lower("username")).filter(lowered__in=lowered)
    known = {person.username: person for person in accounts}
    _require_usable(cleaned, known)
    invited = [_invited(name, known.get(name), how) for _number, name in cleaned]
    lifecycle.invite(campaign=campaign, annotators=[one.person for one in invited], actor=actor)
    created = [one.person.pk for one in invited if not one.existed]
    audit_log.record(actor=actor, action="create-accounts", target=campaign, annotators=created, how=how)
    return invited


def _invited(name: str, person: User | None, how: str) -> Invited:
    if person:
        return Invited(person)
    if how == LINKS:
        guest = User(username=name, guest=True)
        guest.set_unusable_password()
        guest.save()
        return Invited(guest, signed=guest_links.signed(guest))
    given = password()
    return Invited(User.objects.create_user(name, password=given), password=given)


def _require_usable(lines: list[tuple[int, str]], known: Mapping[str, User]) -> None:
    first_line: dict[str, int] = {}
    by_lowered = {name.lower(): name for name in known}
    faults = []
    for number, name in lines:
        earlier = first_line.setdefault(name.lower(), number)
        other = by_lowered.get(name.lower(), name)
        fault = _fault_of_name(name)
        if fault is None and earlier != number:
            fault = _("“%(name)s” is in line %(earlier)s already") % {"name": name, "earlier": earlier}
        elif fault is None and other != name and name not in known:
            fault = _("“%(name)s” differs from the account “%(other)s” only by capital letters") % {
                "name": name,
                "other": other,
            }
        elif fault is None and name in known:
            fault = _fault_of_account(known[name])
        if fault:
            faults.append(_("line %(n)s: %(fault)s") % {"n": number, "fault": fault})
    if faults:
        more = len(faults) - FAULTS_SHOWN
        listed = "; ".join(faults[:FAULTS_SHOWN]) + (f"; {_('and %(n)s more') % {'n': more}}" if more > 0 else "")
        raise Refused("malformed", _("No account was created. Correct these lines: %(faults)s.") % {"faults": listed})


def _fault_of_name(name: str) -> str | None:
    longest = User._meta.get_field("username").max_length or 150
    if len(name) > longest:
        return _("the name has %(n)s characters; at most %(most)s are allowed") % {"n": len(name), "most": longest}
    try:
        User.username_validator(name)
    except ValidationError:
        return _("“%(name)s” is not a valid name: use letters, digits and @ . + - _ only") % {"name": name[:40]}
    return None


def _fault_of_account(person: User) -> str | None:
    if not person.is_active:
        return _("the account “%(name)s” is deactivated") % {"name": person.username}
    if person.simulated or person.imported:
        return _("“%(name)s” is a simulated or imported annotator") % {"name": person.username}
    return None
