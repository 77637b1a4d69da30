"""The lead's pages of campaigns."""

from collections.abc import Callable
from datetime import timedelta

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.accounts import guest_links
from annotate.campaigns import attention_pairs, lifecycle, members, oversight
from annotate.campaigns import forms as campaigns_forms
from annotate.campaigns import plots as campaigns_plots
from annotate.common.refusals import Refused
from annotate.desk import participants, progress, recruitment
from annotate.labels.votes import answers_left_out
from annotate.models import Campaign, User
from annotate.pipeline import stage as pipeline_stage
from annotate.pipeline.scoring import metric_coverage
from annotate.predictor import plots as predictor_plots
from annotate.predictor import status as predictor_status
from annotate.web.requests import Request, leads_only

SECONDS_PER_ANSWER = 5  # assumed for a campaign without answers


@login_required
@require_http_methods(["GET", "POST"])
def new(request: Request) -> HttpResponse:
    leads_only(request, _("Only leads can create campaigns."))
    sent = request.POST if request.method == "POST" else None
    selection, form = campaigns_forms.SelectionForm(sent), campaigns_forms.CampaignForm(sent)
    if sent is not None and selection.is_valid() and form.is_valid():
        campaign = form.save(commit=False)
        try:
            added = lifecycle.create_campaign(campaign=campaign, selection=selection.selection(), actor=request.user)
        except Refused as refused:
            selection.add_error(None, refused.message)
        else:
            if invited := form.cleaned_data["annotators"]:
                lifecycle.invite(campaign=campaign, annotators=invited, actor=request.user)
            messages.success(request, _("The campaign is open, with %(n)s items.") % {"n": f"{added:,}"})
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
        pairs = sum(1 for _ in selection.selection().ids(seed=0))
        context["places"] = selection.selection().places()
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
def campaign(request: Request, slug: str) -> HttpResponse:
    leads_only(request, _("Only leads can open the campaign's page."))
    found = get_object_or_404(Campaign, slug=slug)
    outside = campaigns_forms.outside(found)
    adjudication = found.adjudications.first()
    room = participants.room(found)
    context = _live(found) | {
        "disputed": lifecycle.disputed_items(found).count(),
        "adjudication": adjudication,
        "invitations": [
            (one, request.build_absolute_uri(reverse("join", args=[one.token])))
            for one in found.invitations.order_by("-pk").prefetch_related("takers__annotator")
        ],
        "members": found.memberships.select_related("annotator", "invitation").order_by("annotator__username"),
        "room": room,
        "recruitment": recruitment.recruitment_of(found),
        "checks": found.items.checks().count(),
        "log": oversight.log(found),
        "forms": {
            "extend": campaigns_forms.ExtendForm(),
            "invite": campaigns_forms.PeopleForm(people=outside) if outside.exists() else None,
            "invitation": campaigns_forms.InvitationForm(room=room) if room.places else None,
            "recruitment": campaigns_forms.RecruitmentForm(instance=recruitment.recruitment_of(found)),
            "adjudicate": campaigns_forms.PeopleForm(
                people=campaigns_forms.annotators(), initial={"people": [request.user.pk]}, prefix="adjudicate"
            ),
        },
        "predictor": predictor_status.predictor_status(),
        "left_out": answers_left_out(),
        "curve": predictor_plots.accuracy_curve(),
        "metrics": metric_coverage(),
        "demo": pipeline_stage.demo_run(),
    }
    return render(request, "annotate/campaigns/campaign.html", context)


@login_required
@require_GET
def campaign_live(request: Request, slug: str) -> HttpResponse:
    leads_only(request, _("Only leads can do this."))
    return render(request, "annotate/campaigns/campaign_live.html", _live(get_object_or_404(Campaign, slug=slug)))


def _live(found: Campaign) -> dict:
    pace, overview = oversight.pace(found), oversight.overview(found)
    medians = [row.behaviour.median_seconds for row in overview.rows if row.behaviour.median_seconds]
    middle = sorted(medians)[len(medians) // 2] if medians else None
    return {
        "campaign": found,
        "pace": pace,
        "overview": overview,
        "items": [(oversight.ITEM_STATES[state], n) for state, n in oversight.item_counts(found).items()],
        "holders": oversight.holders(found),
        "hours_left": pace.remaining * middle / 3600 if middle else None,
        "middle": middle,
        "plot": campaigns_plots.answers_plot(overview.times, pace.wanted),
    }


@login_required
@require_GET
def preference_counts(request: Request) -> HttpResponse:
    leads_only(request, _("Only leads can do this."))
    context = {"preferences": oversight.preference_counts(), "left_out": answers_left_out()}
    return render(request, "annotate/campaigns/preference_counts.html", context)


@login_required
@require_POST
def act(request: Request, slug: str, action: str) -> HttpResponse:
    """Run a lead's action on a campaign. The page then shows the result, or why the action was refused."""
    leads_only(request, _("Only leads can do this."))
    found = get_object_or_404(Campaign, slug=slug)
    if action not in ACTIONS:
        raise Http404("There is no such action.")
    try:
        messages.success(request, ACTIONS[action](request, found))
    except Refused as refused:
        messages.error(request, refused.message)
    return redirect("campaign", slug=slug)


def _valid(form: forms.BaseForm) -> dict:
    if not form.is_valid():
        name, errors = next(iter(form.errors.items()))
        label = form.fields[name].label if name in form.fields and isinstance(form, forms.ModelForm) else ""
        fault = f"{label}: {errors[0]}" if label else errors[0]
        raise Refused("malformed", _("Nothing was done: %(fault)s") % {"fault": fault})
    return form.cleaned_data


def _pause(request: Request, found: Campaign) -> str:
    lifecycle.set_open(campaign=found, is_open=False, actor=request.user)
    return _("Paused: no pairs are issued and no answers accepted until you reopen the campaign. All answers are kept.")


def _reopen(request: Request, found: Campaign) -> str:
    lifecycle.set_open(campaign=found, is_open=True, actor=request.user)
    return _("Reopened.")


def _extend(request: Request, found: Campaign) -> str:
    by = _valid(campaigns_forms.ExtendForm(request.POST))["by"]
    lifecycle.extend_overlap(campaign=found, by=by, actor=request.user)
    return _("Each pair is now answered by %(n)s annotators.") % {"n": found.overlap}


def _invite(request: Request, found: Campaign) -> str:
    outside = campaigns_forms.outside(found)
    people = _valid(campaigns_forms.PeopleForm(request.POST, people=outside))["people"]
    lifecycle.invite(campaign=found, annotators=people, actor=request.user)
    return _("Invited: %(people)s.") % {"people": ", ".join(str(person) for person in people)}


def _invitation(request: Request, found: Campaign) -> str:
    data = _valid(campaigns_forms.InvitationForm(request.POST, room=participants.room(found)))
    expires_at = timezone.now() + timedelta(days=data["days"])
    lifecycle.create_invitation(campaign=found, places=data["places"], expires_at=expires_at, actor=request.user)
    return _("Invitation link created: see “Invitation links” below.")


def _revoke(request: Request, found: Campaign) -> str:
    invitation = _valid(campaigns_forms.InvitationChoiceForm(request.POST, campaign=found))["invitation"]
    members.revoke_invitation(invitation=invitation, actor=request.user)
    return _("The link is revoked: nobody else can join with it. Those who have joined stay members.")


def _remove(request: Request, found: Campaign) -> str:
    person = _valid(campaigns_forms.MemberForm(request.POST, campaign=found))["person"]
    is_freed = members.remove(campaign=found, person=person, actor=request.user)
    done = _("%(name)s was removed. All answers are kept, and held items were returned.") % {"name": person}
    return f"{done} {_('The place of the invitation link is free again.')}" if is_freed else done


def _readmit(request: Request, found: Campaign) -> str:
    person = _valid(campaigns_forms.MemberForm(request.POST, campaign=found))["person"]
    members.readmit(campaign=found, person=person, actor=request.user)
    done = _("%(name)s is a member again.") % {"name": person}
    return f"{done} {_return_link(request, person)}" if person.guest else done


def _replace_return_link(request: Request, found: Campaign) -> str:
    guest = _valid(campaigns_forms.MemberForm(request.POST, campaign=found))["person"]
    members.replace_return_link(campaign=found, guest=guest, actor=request.user)
    return _return_link(request, guest)


def _return_link(request: Request, guest: User) -> str:
    address = request.build_absolute_uri(reverse("come_back", args=[guest_links.signed(guest)]))
    return _("The new return link of %(name)s, to pass on: %(address)s") % {"name": guest, "address": address}


def _exclude(request: Request, found: Campaign) -> str:
    person = _valid(campaigns_forms.MemberForm(request.POST, campaign=found))["person"]
    attention_pairs.exclude(campaign=found, person=person, actor=request.user)
    return _("The answers of %(name)s in this campaign are no longer votes. They are kept.") % {"name": person}


def _lift(request: Request, found: Campaign) -> str:
    person = _valid(campaigns_forms.MemberForm(request.POST, campaign=found))["person"]
    attention_pairs.lift(campaign=found, person=person, actor=request.user)
    return _("Lifted: %(name)s gets pairs, and the answers count. Only attention checks from now on count.") % {
        "name": person
    }


def _recruitment(request: Request, found: Campaign) -> str:
    form = campaigns_forms.RecruitmentForm(request.POST, instance=recruitment.recruitment_of(found))
    service = _valid(form)["service"]
    members.recruit(campaign=found, recruitment=form.instance if service else None, actor=request.user)
    return _("Stored.")


def _release(request: Request, found: Campaign) -> str:
    annotator = _valid(campaigns_forms.ReleaseForm(request.POST))["annotator"]
    released = lifecycle.release_leases(campaign=found, annotator=annotator, actor=request.user)
    return _("Released %(n)s held items for other annotators. Answers are unchanged.") % {"n": released}


def _adjudicate(request: Request, found: Campaign) -> str:
    form = campaigns_forms.PeopleForm(request.POST, people=campaigns_forms.annotators(), prefix="adjudicate")
    people = _valid(form)["people"]
    adjudication = lifecycle.adjudicate(campaign=found, adjudicators=people, actor=request.user)
    return _("“%(name)s” has %(n)s disputed items. Its answers override the disputed ones.") % {
        "name": adjudication,
        "n": f"{adjudication.item_count:,}",
    }


ACTIONS: dict[str, Callable[[Request, Campaign], str]] = {
    "pause": _pause,
    "reopen": _reopen,
    "extend": _extend,
    "invite": _invite,
    "invitation": _invitation,
    "revoke": _revoke,
    "remove": _remove,
    "readmit": _readmit,
    "return-link": _replace_return_link,
    "exclude": _exclude,
    "lift": _lift,
    "recruitment": _recruitment,
    "release": _release,
    "adjudicate": _adjudicate,
}


@login_required
@require_GET
def home(request: Request) -> HttpResponse:
    campaigns = progress.campaigns_of(request.user)
    cards = [(campaign, progress.progress_of(annotator=request.user, campaign=campaign)) for campaign in campaigns]
    overseen = []
    if request.user.is_staff:
        overseen = [(campaign, oversight.pace(campaign)) for campaign in Campaign.objects.order_by("-open", "name")]
    return render(
        request,
        "annotate/campaigns/home.html",
        {"cards": cards, "demo": pipeline_stage.demo_run(), "overseen": overseen},
    )
