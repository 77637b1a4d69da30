"""Page and files of a campaign's agreement report, for leads. Statistics are imported only when one is requested."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from annotate.models import Campaign, Candidate
from annotate.web import simulated
from annotate.web.requests import Request, leads_only


@login_required
@require_GET
def agreement(request: Request, slug: str) -> HttpResponse:
    leads_only(request, _("Only leads can open the agreement report."))
    from annotate.agreement import files as agreement_files
    from annotate.agreement.report import agreement_report

    report = agreement_report(_campaign(slug), pseudonyms=False, with_simulated=simulated.asked_for(request.GET))
    query = {"query": request.GET.urlencode(), "switches": simulated.switches(request.GET)}
    return render(request, "annotate/agreement/agreement.html", agreement_files.context(report, _address) | query)


@login_required
@require_GET
def agreement_file(request: Request, slug: str, form: str) -> HttpResponse:
    leads_only(request, _("Only leads can open the agreement report."))
    from annotate.agreement import files as agreement_files

    written = agreement_files.render(_campaign(slug), form, with_simulated=simulated.asked_for(request.GET))
    response = HttpResponse(written, content_type=f"{agreement_files.CONTENT_TYPES[form]}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{slug}-agreement.{form}"'
    return response


def _campaign(slug: str) -> Campaign:
    return get_object_or_404(Campaign, slug=slug, kind=Campaign.Kind.PREFERENCE)


def _address(candidate: Candidate) -> str:
    return reverse("image", args=[candidate.key])
