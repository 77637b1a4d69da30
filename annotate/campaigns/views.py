"""The list of campaigns, and the form of a new one."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET, require_http_methods

from annotate.campaigns import forms as campaigns_forms
from annotate.campaigns import lifecycle, next_steps, oversight
from annotate.common.refusals import Refused
from annotate.desk import onboarding, progress
from annotate.labels.votes import answers_left_out
from annotate.models import Campaign
from annotate.pipeline import stage as pipeline_stage
from annotate.web.requests import Request, leads_only

NO_CHECKS = gettext_lazy(
    "There are no attention checks yet: no training face of these data sets has a pair with its photograph. Once "
    "people agree on pairs, mark some as checks, in the settings."
)
SECONDS_PER_ANSWER = 5  # assumed for a campaign without answers


@login_required
@require_http_methods(["GET", "POST"])
def new(request: Request) -> HttpResponse:
    leads_only(request, _("Only leads can create campaigns."))
    sent = request.POST if request.method == "POST" else None
    selection = campaigns_forms.SelectionForm(sent)
    selection.choose_restorer(request.GET.get("restorer", ""))
    form = campaigns_forms.CampaignForm(sent)
    if sent is not None and selection.is_valid() and form.is_valid():
        campaign = form.save(commit=False)
        try:
            added = lifecycle.create_campaign(campaign=campaign, selection=selection.selection(), actor=request.user)
        except Refused as refused:
            if refused.code == onboarding.TOO_FEW_KNOWN_PAIRS:
                form.add_error("qualification_size", refused.message)
            else:
                selection.add_error("pairs" if refused.code == lifecycle.TOO_FEW_PAIRS else None, refused.message)
        else:
            if invited := form.cleaned_data["annotators"]:
                lifecycle.invite(campaign=campaign, annotators=invited, actor=request.user)
            messages.success(request, _("The campaign is open, with %(n)s items.") % {"n": f"{added:,}"})
            if campaign.check_share and not campaign.show_reference and not campaign.items.checks().exists():
                messages.info(request, NO_CHECKS)
            return redirect("campaign", slug=campaign.slug)
    status = 200 if sent is None else 400
    return render(
        request, "annotate/campaigns/campaign_new.html", {"selection": selection, "form": form}, status=status
    )


@login_required
@require_GET
def count(request: Request) -> HttpResponse:
    """Count the selected pairs while the lead fills in the form."""
    leads_only(request, _("Only leads can do this."))
    selection = campaigns_forms.SelectionForm(request.GET)
    is_study = request.GET.get("kind") == Campaign.Kind.STUDY
    people = _people_per_pair(request, "participants" if is_study else "overlap")
    context: dict = {
        "selection": selection,
        "seconds": SECONDS_PER_ANSWER,
        "participants": people if is_study else None,
    }
    if selection.is_valid():
        chosen = selection.selection()
        pairs = sum(1 for _ in chosen.ids(seed=0))
        context["places"] = chosen.places()
        if chosen.pairs is not None and 0 < pairs < chosen.pairs:
            context["too_few"] = lifecycle.too_few_pairs(pairs, chosen.pairs)
        comparisons = pairs * (2 if is_study else 1)
        answers = comparisons * people
        minutes = max(1, round(comparisons * SECONDS_PER_ANSWER / 60))
        context |= {"pairs": pairs, "comparisons": comparisons, "minutes": minutes}
        context |= {"answers": answers, "hours": answers * SECONDS_PER_ANSWER / 3600}
    return render(request, "annotate/campaigns/campaign_count.html", context)


def _people_per_pair(request: Request, field: str) -> int:
    text = request.GET.get(field, "")
    minimum, maximum = campaigns_forms.LIMITS[field]
    return min(max(int(text[:4]), int(minimum)), int(maximum)) if text.isdecimal() else 1


@login_required
@require_GET
def preference_counts(request: Request) -> HttpResponse:
    leads_only(request, _("Only leads can do this."))
    context = {"preferences": oversight.preference_counts(), "left_out": answers_left_out()}
    return render(request, "annotate/campaigns/preference_counts.html", context)


@login_required
@require_GET
def home(request: Request) -> HttpResponse:
    context: dict = {"shares": progress.own_shares(request.user), "demo": pipeline_stage.demo_run()}
    if request.user.is_staff:
        context["overseen"] = _overseen(list(Campaign.objects.order_by("-open", "name")))
    return render(request, "annotate/campaigns/home.html", context)


def _overseen(campaigns: list[Campaign]) -> list[tuple[Campaign, oversight.Pace, next_steps.NextStep]]:
    paces = oversight.paces(campaigns)
    facts = next_steps.facts(campaigns, paces)
    return [(one, paces[one.pk], next_steps.next_step(one, facts[one.pk])) for one in campaigns]
