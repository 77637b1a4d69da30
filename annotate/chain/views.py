"""The first page: for leads the chain and their campaigns, for annotators their campaigns."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from annotate.campaigns import views as campaigns_views
from annotate.chain.links import RUNNING, chain
from annotate.web.requests import Request, leads_only


@login_required
@require_GET
def overview(request: Request) -> HttpResponse:
    """Show the chain, or only its part of the page for a refresh."""
    leads_only(request, _("Only leads can open the overview."))
    found = chain(request.user)
    context = {"chain": found, "is_running": any(link.state == RUNNING for link in found.links)}
    template = "chain_links.html" if request.htmx else "overview.html"
    return render(request, f"annotate/chain/{template}", context)


@login_required
@require_GET
def home(request: Request) -> HttpResponse:
    return overview(request) if request.user.is_staff else campaigns_views.home(request)
