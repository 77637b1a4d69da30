"""What a lead does to a campaign with one button or a small form."""

from collections.abc import Callable
from datetime import timedelta

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from annotate.accounts import guest_links
from annotate.campaigns import attention_pairs, lifecycle, members
from annotate.campaigns import forms as campaigns_forms
from annotate.common.refusals import Refused
from annotate.desk import participants, recruitment
from annotate.models import Campaign, User
from annotate.web.requests import Request, leads_only


@login_required
@require_POST
def act(request: Request, slug: str, action: str) -> HttpResponse:
    """Run a lead's action on a campaign. The page then shows the result, or why the action was refused."""
    leads_only(request, _("Only leads can do this."))
    found = get_object_or_404(Campaign, slug=slug)
    if action not in ACTIONS:
        raise Http404("There is no such action.")
    run, tab = ACTIONS[action]
    try:
        messages.success(request, run(request, found))
    except Refused as refused:
        messages.error(request, refused.message)
    return redirect(tab, slug=slug)


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
    return _("Invitation link created: see “Invitation links”.")


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


def _exclude(request: Request, found: Campaign) -> str:
    person = _valid(campaigns_forms.MemberForm(request.POST, campaign=found))["person"]
    attention_pairs.exclude(campaign=found, person=person, actor=request.user)
    return _("The answers of %(name)s in this campaign no longer count as votes. They are kept.") % {"name": person}


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


# name -> (what it does, the page that then shows the result)
ACTIONS: dict[str, tuple[Callable[[Request, Campaign], str], str]] = {
    "pause": (_pause, "campaign"),
    "reopen": (_reopen, "campaign"),
    "extend": (_extend, "campaign_settings"),
    "invite": (_invite, "campaign_people"),
    "invitation": (_invitation, "campaign_people"),
    "revoke": (_revoke, "campaign_people"),
    "remove": (_remove, "campaign_people"),
    "readmit": (_readmit, "campaign_people"),
    "return-link": (_replace_return_link, "campaign_people"),
    "release": (_release, "campaign_people"),
    "exclude": (_exclude, "campaign_people"),
    "lift": (_lift, "campaign_people"),
    "recruitment": (_recruitment, "campaign_people"),
    "adjudicate": (_adjudicate, "campaign_pairs"),
}
