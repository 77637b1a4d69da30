"""Campaigns as leads see and run them."""

from collections.abc import Callable
from datetime import timedelta

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate import curves, lead_forms
from annotate.models import Campaign
from annotate.selectors import oversight, progress
from annotate.services import campaigns
from annotate.services.refusals import Refused
from annotate.views.common import Request, leads_only

SECONDS_AN_ANSWER = 5  # a guess, until the campaign has answers of its own


@login_required
@require_http_methods(["GET", "POST"])
def new(request: Request) -> HttpResponse:
    leads_only(request, "New campaigns are")
    sent = request.POST if request.method == "POST" else None
    selection, form = lead_forms.SelectionForm(sent), lead_forms.CampaignForm(sent)
    if sent is not None and selection.is_valid() and form.is_valid():
        campaign = form.save(commit=False)
        try:
            added = campaigns.create_campaign(campaign=campaign, selection=selection.selection(), actor=request.user)
        except Refused as refused:
            selection.add_error(None, refused.message)
        else:
            if invited := form.cleaned_data["annotators"]:
                campaigns.invite(campaign=campaign, annotators=invited, actor=request.user)
            messages.success(request, f"The campaign is open, with {added:,} items.")
            return redirect("campaign", slug=campaign.slug)
    status = 200 if sent is None else 400
    return render(request, "annotate/campaign_new.html", {"selection": selection, "form": form}, status=status)


@login_required
@require_GET
def count(request: Request) -> HttpResponse:
    """How many pairs the choice holds, while it is being made."""
    leads_only(request, "This is")
    selection = lead_forms.SelectionForm(request.GET)
    overlap = _overlap(request.GET.get("overlap", ""))
    questions = 2 if request.GET.get("kind") == Campaign.Kind.STUDY else 1
    context: dict = {"selection": selection, "overlap": overlap, "seconds": SECONDS_AN_ANSWER}
    if selection.is_valid():
        pairs = sum(1 for _ in selection.selection().ids(seed=0))
        answers = pairs * overlap * questions
        context |= {"pairs": pairs, "answers": answers, "hours": answers * SECONDS_AN_ANSWER / 3600}
    return render(request, "annotate/campaign_count.html", context)


def _overlap(text: str) -> int:
    least, most = lead_forms.LIMITS["overlap"]
    return min(max(int(text[:4]), int(least)), int(most)) if text.isdecimal() else 1


@login_required
@require_GET
def campaign(request: Request, slug: str) -> HttpResponse:
    leads_only(request, "The campaign's page is")
    found = get_object_or_404(Campaign, slug=slug)
    outside = lead_forms.annotators().exclude(memberships__campaign=found)
    adjudication = found.adjudications.first()
    context = _live(found) | {
        "disputed": campaigns.disputed_items(found).count(),
        "adjudication": adjudication,
        "invitations": [
            (one, request.build_absolute_uri(f"/join/{one.token}")) for one in found.invitations.order_by("-pk")
        ],
        "log": oversight.log(found),
        "forms": {
            "extend": lead_forms.ExtendForm(),
            "invite": lead_forms.PeopleForm(people=outside) if outside.exists() else None,
            "invitation": lead_forms.InvitationForm(),
            "adjudicate": lead_forms.PeopleForm(
                people=lead_forms.annotators(), initial={"people": [request.user.pk]}, prefix="adjudicate"
            ),
        },
        "predictor": progress.predictor_status(),
        "curve": curves.accuracy_curve(),
        "metrics": progress.metric_columns(),
        "demo": progress.demo_run(),
    }
    return render(request, "annotate/campaign.html", context)


@login_required
@require_GET
def campaign_live(request: Request, slug: str) -> HttpResponse:
    leads_only(request, "This is")
    return render(request, "annotate/campaign_live.html", _live(get_object_or_404(Campaign, slug=slug)))


def _live(found: Campaign) -> dict:
    pace, overview = oversight.pace(found), oversight.overview(found)
    medians = [row.conduct.median_seconds for row in overview.rows if row.conduct.median_seconds]
    middle = sorted(medians)[len(medians) // 2] if medians else None
    return {
        "campaign": found,
        "pace": pace,
        "overview": overview,
        "items": oversight.item_counts(found),
        "holders": oversight.holders(found),
        "hours_left": pace.remaining * middle / 3600 if middle else None,
        "middle": middle,
        "plot": curves.answers_plot(overview.times, pace.wanted),
    }


@login_required
@require_GET
def preference_counts(request: Request) -> HttpResponse:
    leads_only(request, "This is")
    return render(request, "annotate/preference_counts.html", {"preferences": progress.preference_counts()})


@login_required
@require_POST
def act(request: Request, slug: str, action: str) -> HttpResponse:
    """What a lead does to a campaign; the page then says what happened, or why nothing did."""
    leads_only(request, "This is")
    found = get_object_or_404(Campaign, slug=slug)
    if action not in ACTIONS:
        raise Http404("There is no such action.")
    try:
        messages.success(request, ACTIONS[action](request, found))
    except Refused as refused:
        messages.error(request, refused.message)
    return redirect("campaign", slug=slug)


def _valid(form: forms.Form) -> dict:
    if not form.is_valid():
        fault = next(iter(form.errors.values()))[0]
        raise Refused("malformed", f"Nothing was done: {fault}")
    return form.cleaned_data


def _pause(request: Request, found: Campaign) -> str:
    campaigns.set_open(campaign=found, is_open=False, actor=request.user)
    return "Paused: no pairs are given out and no answers taken until you reopen it. Every answer is kept."


def _reopen(request: Request, found: Campaign) -> str:
    campaigns.set_open(campaign=found, is_open=True, actor=request.user)
    return "Open again."


def _extend(request: Request, found: Campaign) -> str:
    by = _valid(lead_forms.ExtendForm(request.POST))["by"]
    campaigns.extend_overlap(campaign=found, by=by, actor=request.user)
    return f"Each pair is now answered by {found.overlap} annotators."


def _invite(request: Request, found: Campaign) -> str:
    outside = lead_forms.annotators().exclude(memberships__campaign=found)
    people = _valid(lead_forms.PeopleForm(request.POST, people=outside))["people"]
    campaigns.invite(campaign=found, annotators=people, actor=request.user)
    return "Invited: " + ", ".join(str(person) for person in people) + "."


def _invitation(request: Request, found: Campaign) -> str:
    data = _valid(lead_forms.InvitationForm(request.POST))
    expires_at = timezone.now() + timedelta(days=data["days"])
    campaigns.create_invitation(campaign=found, places=data["places"], expires_at=expires_at, actor=request.user)
    return "The link is made; it stands below, under “Invitation links”."


def _release(request: Request, found: Campaign) -> str:
    annotator = _valid(lead_forms.ReleaseForm(request.POST))["annotator"]
    released = campaigns.release_leases(campaign=found, annotator=annotator, actor=request.user)
    return f"{released} held items were given back for others. Answers are untouched."


def _adjudicate(request: Request, found: Campaign) -> str:
    form = lead_forms.PeopleForm(request.POST, people=lead_forms.annotators(), prefix="adjudicate")
    people = _valid(form)["people"]
    made = campaigns.adjudicate(campaign=found, adjudicators=people, actor=request.user)
    return f"“{made}” asks about {made.item_count:,} disputed items. Its answers outrank those they settle."


ACTIONS: dict[str, Callable[[Request, Campaign], str]] = {
    "pause": _pause,
    "reopen": _reopen,
    "extend": _extend,
    "invite": _invite,
    "invitation": _invitation,
    "release": _release,
    "adjudicate": _adjudicate,
}
