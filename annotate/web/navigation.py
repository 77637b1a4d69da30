"""The links at the top of every page, by role, with the present one marked."""

from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Section:
    """label: the text of the link. view: the name of its page. views: start of the names of the pages below it."""

    label: Promise
    view: str
    views: tuple[str, ...] = ()

    def holds(self, name: str) -> bool:
        return name == self.view or (bool(self.views) and name.startswith(self.views))


CAMPAIGNS = ("campaign", "study_", "agreement")
FOR_ANNOTATORS = (Section(_("Campaigns"), "home", CAMPAIGNS),)
FOR_LEADS = (
    Section(_("Overview"), "home", ("overview",)),
    Section(_("Campaigns"), "campaigns", CAMPAIGNS),
    Section(_("Faces"), "faces", ("face", "erase_face")),
    Section(_("Labels"), "predictors", ("preference_counts",)),
    Section(_("Runs"), "runs", ("run",)),
    Section(_("Jobs"), "jobs", ("job", "upload")),
    Section(_("Leaderboard"), "leaderboard", ("leaderboard",)),
    Section(_("Admin"), "admin:index", ("admin:",)),
)


def sections(request: HttpRequest) -> dict[str, Any]:
    """A template context processor: `sections` as (address, label, whether the page is in it)."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {"sections": []}
    shown = FOR_LEADS if user.is_staff else FOR_ANNOTATORS
    match = request.resolver_match
    name = match.view_name if match else ""
    return {"sections": [(reverse(section.view), section.label, section.holds(name)) for section in shown]}
