"""The start page, the guideline, and what shows the predictor live."""

from django.contrib.auth.decorators import login_required
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_GET

from annotate.markdown_text import to_html
from annotate.models import Campaign
from annotate.models.campaigns import Criterion
from annotate.selectors import oversight, progress
from annotate.views.common import Request, member_campaign


@require_GET
def health(request: HttpRequest) -> JsonResponse:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return JsonResponse({"status": "ok"})


@login_required
@require_GET
def home(request: Request) -> HttpResponse:
    campaigns = progress.campaigns_of(request.user)
    cards = [(campaign, progress.progress_of(annotator=request.user, campaign=campaign)) for campaign in campaigns]
    overseen = []
    if request.user.is_staff:
        overseen = [(campaign, oversight.pace(campaign)) for campaign in Campaign.objects.order_by("-open", "name")]
    return render(request, "annotate/home.html", {"cards": cards, "demo": progress.demo_run(), "overseen": overseen})


@login_required
@require_GET
def guideline(request: Request, slug: str) -> HttpResponse:
    campaign = member_campaign(request, slug)
    examples = {example.criterion: example for example in campaign.examples.select_related("better", "worse")}
    return render(
        request,
        "annotate/guideline.html",
        {
            "campaign": campaign,
            "rules": [(criterion, examples.get(criterion.value)) for criterion in Criterion],
            "text": to_html(campaign.guideline),
        },
    )


@login_required
@require_GET
def live(request: Request, slug: str) -> HttpResponse:
    """The fragment that shows, without reload, what the SVM and the demo are doing."""
    campaign = member_campaign(request, slug)
    return render(
        request,
        "annotate/live.html",
        {"campaign": campaign, "predictor": progress.predictor_status(), "demo": progress.demo_run()},
    )
