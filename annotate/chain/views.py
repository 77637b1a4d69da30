"""The first page: for leads the chain and their campaigns, for annotators their campaigns."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from annotate.campaigns import views as campaigns_views
from annotate.chain.links import RUNNING, chain
from annotate.pipeline.stage import demo_run
from annotate.web.requests import Request, leads_only


@login_required
@require_GET
def overview(request: Request) -> HttpResponse:
    """Show the chain, or only its part of the page for a refresh."""
    leads_only(request, _("Only leads can open the overview."))
    found = chain(request.user)
    demo = demo_run()
    is_demo_running = demo is not None and demo.condition == "running"  # it makes itself what is missing
    context = {
        "chain": found,
        "demo": demo,
        "is_demo_running": is_demo_running,
        "is_running": is_demo_running or any(link.state == RUNNING for link in found.links),
    }
    template = "chain_links.html" if request.htmx else "overview.html"
    return render(request, f"annotate/chain/{template}", context)


@login_required
@require_GET
def home(request: Request) -> HttpResponse:
    return overview(request) if request.user.is_staff else campaigns_views.home(request)
