"""Participants whom a service such as Prolific or Mechanical Turk sends: who they are, and what they take back.

The link of the service names the participant in its query. The id is kept with the membership, for leads to approve the
work, and its hash, by which somebody who comes back continues. See `docs/leads/recruiting.md`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.translation import gettext as _

from annotate.common.pseudonyms import hashed
from annotate.common.refusals import Refused
from annotate.models import Campaign, Membership, Recruitment

Service = Recruitment.Service
QUERY = {  # service -> parameters of the participant, the study and the session
    Service.PROLIFIC: ("PROLIFIC_PID", "STUDY_ID", "SESSION_ID"),
    Service.MTURK: ("workerId", "hitId", "assignmentId"),
}
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
PREVIEW = "ASSIGNMENT_ID_NOT_AVAILABLE"  # Mechanical Turk shows the page before the worker accepts


@dataclass(frozen=True)
class Participant:
    """A participant as the service's link names them."""

    service: str
    id: str
    study: str = ""
    session: str = ""

    @property
    def hash(self) -> str:
        """Salted: it stays when the id is deleted."""
        return hashed(f"{self.service}/{self.id}")

    @property
    def fields(self) -> dict[str, str]:
        """What is stored with the membership."""
        return {
            "external_id": self.id,
            "external_study": self.study,
            "external_session": self.session,
            "external_hash": self.hash,
        }


@dataclass(frozen=True)
class Completion:
    """What a participant takes back to the service. is_complete: False for one who was screened out."""

    service: str
    code: str
    url: str
    is_complete: bool


def recruitment_of(campaign: Campaign) -> Recruitment | None:
    return Recruitment.objects.filter(campaign=campaign).first()


def participant_of(campaign: Campaign, query: Mapping[str, str]) -> Participant | None:
    """Return the participant whom the query names; None if the campaign recruits through no service.

    Raises `Refused` if the query names nobody, or if a value cannot be an id.
    """
    found = recruitment_of(campaign)
    if found is None:
        return None
    names = QUERY[Service(found.service)]
    values = [query.get(name, "") for name in names]
    if found.service == Service.MTURK and values[2] == PREVIEW:
        raise Refused("preview", _("This is a preview. Accept the HIT, then open the link again."))
    if not values[0]:
        raise Refused(
            "no_participant",
            _("This link works from %(service)s only: %(parameter)s is missing in it. Open the study there.")
            % {"service": found.get_service_display(), "parameter": names[0]},
        )
    for name, value in zip(names, values, strict=True):
        if value and not ID.fullmatch(value):
            raise Refused(
                "bad_participant",
                _("%(parameter)s in the link is not an id: at most 64 letters, digits, - and _. Open the study again.")
                % {"parameter": name},
            )
    return Participant(found.service, *values)


def completion(membership: Membership | None, *, screened_out: bool = False) -> Completion | None:
    """Return what the member takes back, or None: not recruited through a service, or nothing answered at all."""
    if membership is None or not membership.external_hash:
        return None
    found = recruitment_of(membership.campaign)
    if found is None or not (screened_out or membership.seen):
        return None
    title = found.get_service_display()
    if screened_out:
        return Completion(title, found.screened_out_code, found.screened_out_url, is_complete=False)
    return Completion(title, found.completion_code, found.completion_url, is_complete=True)
