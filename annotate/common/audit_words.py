"""Audit entries in words: what was done, and to whom. People are named in one query for all entries of a list."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from annotate.models import AuditEntry, User

PEOPLE = ("annotators", "person", "of")  # details that are ids of people
LONGEST = 60  # characters of a value that are shown
EDITS = ("edit", "change-person", "change-role")  # their details are [before, after]

ACTIONS = {
    "create-campaign": gettext_lazy("created the campaign"),
    "add-pairs": gettext_lazy("added pairs"),
    "edit": gettext_lazy("changed the settings"),
    "pause": gettext_lazy("paused the campaign"),
    "reopen": gettext_lazy("reopened the campaign"),
    "extend-overlap": gettext_lazy("asked for more annotators per pair"),
    "invite": gettext_lazy("invited"),
    "create-accounts": gettext_lazy("created accounts"),
    "join": gettext_lazy("joined by a link"),
    "create-invitation": gettext_lazy("created an invitation link"),
    "revoke-invitation": gettext_lazy("revoked an invitation link"),
    "remove-member": gettext_lazy("removed"),
    "readmit-member": gettext_lazy("readmitted"),
    "replace-return-link": gettext_lazy("replaced the return link"),
    "release-leases": gettext_lazy("released held items"),
    "adjudicate": gettext_lazy("assigned disputed pairs"),
    "make-gold-set": gettext_lazy("made the gold set"),
    "freeze-gold-set": gettext_lazy("froze the gold set"),
    "import": gettext_lazy("imported answers"),
    "add-person": gettext_lazy("added a person"),
    "change-person": gettext_lazy("changed a person"),
    "change-role": gettext_lazy("changed a role"),
    "change-password": gettext_lazy("changed the password"),
    "reset-password": gettext_lazy("reset a password"),
    "create-token": gettext_lazy("created an access token"),
    "revoke-token": gettext_lazy("revoked an access token"),
    "sign-in-locked": gettext_lazy("sign-in locked after wrong passwords"),
    "label-policy": gettext_lazy("changed which labels count"),
    "count-simulated": gettext_lazy("changed whether simulated answers count"),
    "roll-back": gettext_lazy("rolled the predictor back"),
    "upload": gettext_lazy("uploaded photographs"),
    "delete-upload": gettext_lazy("deleted an upload"),
    "recover": gettext_lazy("recovered a backup"),
    "start-job": gettext_lazy("started a job"),
    "cancel-job": gettext_lazy("cancelled a job"),
    "resume-job": gettext_lazy("resumed a job"),
    "store-example": gettext_lazy("stored an example of a rule"),
    "remove-example": gettext_lazy("removed an example of a rule"),
    "mark-check": gettext_lazy("made a pair an attention check"),
    "attention-checks": gettext_lazy("failed attention checks"),
    "exclude-answers": gettext_lazy("excluded the answers of"),
    "lift-consequence": gettext_lazy("lifted the consequence of failed checks for"),
    "set-recruitment": gettext_lazy("changed the recruitment"),
    "erase-faces": gettext_lazy("erased faces"),
}
DETAILS = {
    "annotators": gettext_lazy("people"),
    "person": gettext_lazy("person"),
    "of": gettext_lazy("of"),
    "items": gettext_lazy("items"),
    "pairs": gettext_lazy("pairs"),
    "by": gettext_lazy("more per pair"),
    "places": gettext_lazy("places"),
    "released": gettext_lazy("held items returned"),
    "place_freed": gettext_lazy("place of the link freed"),
    "campaign": gettext_lazy("campaign"),
    "invitation": gettext_lazy("link"),
    "answers": gettext_lazy("answers"),
    "files": gettext_lazy("files"),
    "how": gettext_lazy("handed out"),
    "splits": gettext_lazy("faces"),
    "datasets": gettext_lazy("data sets"),
    "restorer_pairs": gettext_lazy("restorer pairs"),
    "abstained": gettext_lazy("only where the SVM abstains"),
    "name": gettext_lazy("Name"),
    "guideline": gettext_lazy("Guideline"),
    "consent": gettext_lazy("Consent"),
    "tutorial": gettext_lazy("Tutorial"),
    "most_answers": gettext_lazy("Most answers per person"),
    "repeat_share": gettext_lazy("Share of answers to repeat"),
    "show_input": gettext_lazy("Show the low-quality input"),
    "show_reference": gettext_lazy("Show the photograph"),
    "qualification_size": gettext_lazy("Pairs in a round"),
    "qualification_share": gettext_lazy("Required share of correct answers"),
    "qualification_rounds": gettext_lazy("Maximum rounds"),
    "quiet_hours": gettext_lazy("Quiet hours"),
    "lease_seconds": gettext_lazy("Seconds a pair is reserved"),
    "kind": gettext_lazy("kind"),
    "rule": gettext_lazy("rule"),
    "pair": gettext_lazy("pair"),
    "better": gettext_lazy("better restoration"),
    "consequence": gettext_lazy("consequence"),
    "right": gettext_lazy("correct answers"),
    "checks": gettext_lazy("attention checks"),
    "service": gettext_lazy("service"),
    "faces": gettext_lazy("faces"),
    "judgements": gettext_lazy("answers"),
    "gold_sets": gettext_lazy("gold sets"),
    "reason": gettext_lazy("reason"),
}


@dataclass(frozen=True)
class Line:
    """An entry as a page shows it."""

    entry: AuditEntry
    action: str
    details: list[tuple[str, str]]  # (name, value)

    @property
    def details_in_words(self) -> str:
        return "; ".join(f"{name}: {value}" for name, value in self.details)


def lines(entries: Sequence[AuditEntry]) -> list[Line]:
    """Describe the entries, in one query."""
    ids = {pk for entry in entries for name in PEOPLE for pk in _ids(entry.details.get(name))}
    names = {person.pk: str(person) for person in User.objects.filter(pk__in=ids)} if ids else {}
    return [
        Line(entry, str(ACTIONS.get(entry.action, entry.action)), list(_details(entry, names))) for entry in entries
    ]


def _details(entry: AuditEntry, names: dict[int, str]) -> Iterator[tuple[str, str]]:
    for name, value in entry.details.items():
        if value in (None, [], ""):
            continue
        if name in PEOPLE and (ids := _ids(value)):
            words = ", ".join(names.get(pk, _("person %(pk)s") % {"pk": pk}) for pk in ids)
        elif entry.action in EDITS and isinstance(value, list) and len(value) == 2:
            words = _("%(before)s → %(after)s") % {"before": _shortened(value[0]), "after": _shortened(value[1])}
        else:
            words = _value(value)
        yield str(DETAILS.get(name, name)), words


def _ids(value: Any) -> list[int]:
    found = value if isinstance(value, list) else [value]
    return [pk for pk in found if isinstance(pk, int) and not isinstance(pk, bool)]


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return ", ".join(" / ".join(map(str, one)) if isinstance(one, list) else str(one) for one in value)
    return str(value)


def _shortened(value: Any) -> str:
    text = str(value)
    if not text:
        return _("empty")
    if len(text) <= LONGEST:
        return f"“{text}”"
    return ngettext("text of %(n)s character", "text of %(n)s characters", len(text)) % {"n": len(text)}
