"""All components of the pages in all their states, for staff who write templates. The page is in English only."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from annotate.web.requests import Request, leads_only

COLOURS = (
    *("sunken", "page", "card", "hover", "line", "line-strong", "ink", "quiet"),
    *("accent", "accent-strong", "accent-soft", "on-accent"),
    *("good", "good-soft", "warn", "warn-soft", "bad", "bad-soft", "info", "info-soft", "other"),
)
STATES = ("waiting", "running", "done", "failed", "interrupted", "stopped")
SIZES = ("xs", "s", "m", "l", "xl", "2xl")


@login_required
@require_GET
def styleguide(request: Request) -> HttpResponse:
    leads_only(request, _("Only leads can open the style guide."))
    return render(request, "annotate/web/styleguide.html", {"colours": COLOURS, "sizes": SIZES, "states": STATES})
