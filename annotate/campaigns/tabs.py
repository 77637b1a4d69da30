"""The pages of one campaign, each at an address of its own: overview, people, pairs, settings, log. The agreement and
the study report, in packages of their own, show the same tabs."""

from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.campaigns import bulk_accounts, lifecycle, next_steps, oversight, pair_list
from annotate.campaigns import forms as campaigns_forms
from annotate.campaigns import plots as campaigns_plots
from annotate.campaigns.settings_form import SettingsForm
from annotate.common import audit_log, audit_words
from annotate.common.refusals import Refused, status_of
from annotate.desk import participants, recruitment
from annotate.labels.votes import answers_left_out
from annotate.models import Campaign
from annotate.pipeline import stage as pipeline_stage
from annotate.predictor import plots as predictor_plots
from annotate.predictor import status as predictor_status
from annotate.web.requests import Request, leads_only

LOG_PAGE = 50


def _campaign(request: Request, slug: str) -> Campaign:
    leads_only(request, _("Only leads can open the campaign's page."))
    return get_object_or_404(Campaign.objects.select_related("gold_set", "adjudicates"), slug=slug)


@login_required
@require_GET
def overview(request: Request, slug: str) -> HttpResponse:
    found = _campaign(request, slug)
    context = _live(found) | {
        "tab": "campaign",
        "adjudication": found.adjudications.first(),
        "predictor": predictor_status.predictor_status(),
        "left_out": answers_left_out(),
        "curve": predictor_plots.accuracy_curve(),
        "demo": pipeline_stage.demo_run(),
    }
    return render(request, "annotate/campaigns/campaign.html", context)


@login_required
@require_GET
def campaign_live(request: Request, slug: str) -> HttpResponse:
    """Render the fragment that updates the overview without a reload."""
    return render(request, "annotate/campaigns/campaign_live.html", _live(_campaign(request, slug)))


def _live(found: Campaign) -> dict:
    pace, summary = oversight.pace(found), oversight.overview(found)
    medians = [row.behaviour.median_seconds for row in summary.rows if row.behaviour.median_seconds]
    middle = sorted(medians)[len(medians) // 2] if medians else None
    return {
        "campaign": found,
        "pace": pace,
        "overview": summary,
        "step": next_steps.next_step(found, _facts(found, pace, summary)),
        "items": [(oversight.ITEM_STATES[state], n) for state, n in oversight.item_counts(found).items()],
        "hours_left": pace.remaining * middle / 3600 if middle else None,
        "minutes_left": max(1, round(pace.remaining * middle / 60)) if middle else None,
        "middle": middle,
        "plot": campaigns_plots.answers_plot(summary.times, pace.wanted),
    }


def _facts(found: Campaign, pace: oversight.Pace, summary: oversight.Overview) -> next_steps.Facts:
    cheap = next_steps.facts([found], {found.pk: pace})[found.pk]
    disputed = 0 if pace.remaining else lifecycle.disputed_items(found).count()
    flagged = sum(1 for row in summary.rows if row.flags and not row.member.removed_at)
    return next_steps.with_counts(cheap, flagged=flagged, disputed=disputed)


@login_required
@require_GET
def people(request: Request, slug: str) -> HttpResponse:
    return _people(request, _campaign(request, slug))


def _people(
    request: Request, found: Campaign, *, bulk: campaigns_forms.BulkForm | None = None, status: int = 200
) -> HttpResponse:
    outside = campaigns_forms.outside(found)
    room = participants.room(found)
    invitations = found.invitations.order_by("-pk").prefetch_related("takers__annotator")
    context = {
        "campaign": found,
        "tab": "campaign_people",
        "overview": oversight.overview(found),
        "invitations": [(one, request.build_absolute_uri(reverse("join", args=[one.token]))) for one in invitations],
        "room": room,
        "invite": campaigns_forms.PeopleForm(people=outside) if outside.exists() else None,
        "invitation": campaigns_forms.InvitationForm(room=room) if room.places else None,
        "recruitment": recruitment.recruitment_of(found),
        "recruit": campaigns_forms.RecruitmentForm(instance=recruitment.recruitment_of(found)),
        "checks": found.items.checks().count(),
        "bulk": bulk or campaigns_forms.BulkForm(),
    }
    return render(request, "annotate/campaigns/people.html", context, status=status)


@login_required
@require_POST
def accounts(request: Request, slug: str) -> HttpResponse:
    """Create accounts from a pasted list. The answer shows the passwords; they are stored nowhere in plain text."""
    found = _campaign(request, slug)
    form = campaigns_forms.BulkForm(request.POST)
    if not form.is_valid():
        return _people(request, found, bulk=form, status=400)
    names, how = form.cleaned_data["names"], form.cleaned_data["how"]
    try:
        invited = bulk_accounts.create(campaign=found, names=names, how=how, actor=request.user)
    except Refused as refused:
        form.add_error("names", refused.message)
        return _people(request, found, bulk=form, status=status_of(refused))
    rows = [
        (one, request.build_absolute_uri(reverse("come_back", args=[one.signed])) if one.signed else "")
        for one in invited
    ]
    context = {"campaign": found, "tab": "campaign_people", "rows": rows, "how": how}
    context["sign_in"] = request.build_absolute_uri(reverse("login"))
    response = render(request, "annotate/campaigns/accounts_created.html", context)
    response["Cache-Control"] = "no-store"
    return response


@login_required
@require_GET
def pairs(request: Request, slug: str) -> HttpResponse:
    found = _campaign(request, slug)
    form = pair_list.PairFilterForm(request.GET, campaign=found)
    chosen = form.cleaned_data if form.is_valid() else {}
    after = request.GET.get("after", "")
    listed = pair_list.page(found, chosen, after=after)
    kept = {name: value for name, value in request.GET.items() if name in form.fields and value}
    context = {
        "campaign": found,
        "tab": "campaign_pairs",
        "form": form,
        "pairs": listed.pairs,
        "first": f"?{urlencode(kept)}" if after else "",
        "next": f"?{urlencode({**kept, 'after': listed.after})}" if listed.after else "",
        "is_filtered": bool(kept),
        "disputed": lifecycle.disputed_items(found).count(),
        "adjudication": found.adjudications.first(),
        "adjudicate": campaigns_forms.PeopleForm(
            people=campaigns_forms.annotators(), initial={"people": [request.user.pk]}, prefix="adjudicate"
        ),
    }
    return render(request, "annotate/campaigns/pairs.html", context, status=200 if form.is_valid() else 400)


@login_required
@require_http_methods(["GET", "POST"])
def settings(request: Request, slug: str) -> HttpResponse:
    found = _campaign(request, slug)
    form = SettingsForm(request.POST if request.method == "POST" else None, instance=found)
    if form.is_bound and form.is_valid():
        if changed := form.changed():
            lifecycle.set_settings(campaign=form.instance, changed=changed, actor=request.user)
            messages.success(request, _("The settings are stored."))
        else:
            messages.info(request, _("Nothing was changed."))
        return redirect("campaign_settings", slug=slug)
    if form.is_bound:
        found = _campaign(request, slug)  # the heading shows what is stored
    context = {"campaign": found, "tab": "campaign_settings", "form": form, "extend": campaigns_forms.ExtendForm()}
    context["checks"] = found.items.checks().count()
    return render(request, "annotate/campaigns/settings.html", context, status=400 if form.is_bound else 200)


@login_required
@require_GET
def log(request: Request, slug: str) -> HttpResponse:
    """List the audit entries of the campaign in words, newest first."""
    found = _campaign(request, slug)
    entries = audit_log.entries_of(found).select_related("actor")
    before = request.GET.get("before", "")
    if before.isascii() and before.isdecimal() and int(before[:19]) <= pair_list.LARGEST:
        entries = entries.filter(pk__lt=int(before[:19]))
    shown = list(entries[: LOG_PAGE + 1])
    older = shown[LOG_PAGE - 1].pk if len(shown) > LOG_PAGE else None
    context = {
        "campaign": found,
        "tab": "campaign_log",
        "lines": audit_words.lines(shown[:LOG_PAGE]),
        "older": older,
        "is_first_page": not before,
    }
    return render(request, "annotate/campaigns/log.html", context)
