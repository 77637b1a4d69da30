"""Campaigns as leads see them."""

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from annotate import agreement, curves
from annotate.models import Campaign
from annotate.selectors import progress
from annotate.views.common import Request, leads_only


@login_required
@require_GET
def report(request: Request, slug: str) -> HttpResponse:
    leads_only(request, "The report is")
    campaign = get_object_or_404(Campaign, slug=slug)
    annotators = progress.annotator_reports(campaign)
    names = {row.annotator.pk: row.annotator for row in annotators}
    agreements = agreement.pairwise(progress.votes(campaign))
    return render(
        request,
        "annotate/report.html",
        {
            "campaign": campaign,
            "items": progress.item_counts(campaign),
            "annotators": annotators,
            "agreements": [(names[one], names[other], value) for (one, other), value in agreements.items()],
            "overall": agreement.overall(agreements.values()),
            "predictor": progress.predictor_status(),
            "curve": curves.accuracy_curve(),
            "preferences": progress.preference_counts(),
            "metrics": progress.metric_columns(),
            "demo": progress.demo_run(),
        },
    )
