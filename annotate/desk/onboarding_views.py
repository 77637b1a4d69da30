"""Pages before the first pair: invitation, consent, tutorial, qualification. All work without JavaScript."""

import re

from django.contrib.auth import login
from django.contrib.auth.decorators import login_required
from django.core import signing
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.accounts import guest_links
from annotate.common.refusals import Refused
from annotate.common.sides import SIDES
from annotate.desk import invitations, onboarding, recruitment
from annotate.desk import qualification as trials
from annotate.models import Campaign, Invitation, Membership, User
from annotate.web.markdown import to_html
from annotate.web.requests import Request

SIGN_IN_BACKEND = "django.contrib.auth.backends.ModelBackend"
REFUSAL_STATUS = {
    "no_such_invitation": 404,
    "invitation_expired": 410,
    "invitation_full": 409,
    "invitation_revoked": 410,
    "complete": 410,
    "return_link_ended": 410,
    "removed": 403,
    "too_many_joins": 429,
    "bad_participant": 400,
    "no_participant": 400,
}


def _own_membership(request: Request, slug: str) -> Membership:
    campaign = get_object_or_404(Campaign, slug=slug)
    membership = onboarding.membership_of(annotator=request.user, campaign=campaign)
    if membership is None:
        raise Http404("You are not a member of this campaign.")
    return membership


@login_required
@require_GET
def begin(request: Request, slug: str) -> HttpResponse:
    """Show the step that is due, or redirect to the desk."""
    membership = _own_membership(request, slug)
    campaign, step = membership.campaign, onboarding.next_page(membership)
    if step is None:
        return redirect("judge", slug=slug)
    if step in (onboarding.QUALIFICATION, onboarding.GUIDELINE):
        return redirect(step, slug=slug)
    context = {
        "campaign": campaign,
        "text": to_html(campaign.consent if step == onboarding.CONSENT else campaign.tutorial),
        "sha256": onboarding.consent_sha256(campaign),
        "return_link": _return_link(request),
    }
    return render(request, f"annotate/desk/{step}.html", context)


@login_required
@require_POST
def agree(request: Request, slug: str) -> HttpResponse:
    membership = _own_membership(request, slug)
    if "refuse" in request.POST:
        completion = recruitment.completion(membership, screened_out=True)
        context = {"campaign": membership.campaign, "completion": completion}
        return render(request, "annotate/desk/consent_refused.html", context)
    try:
        onboarding.agree(membership=membership, sha256=request.POST.get("sha256", ""))
    except Refused as refused:
        return _refusal(request, refused, 409)
    return redirect("begin", slug=slug)


@login_required
@require_POST
def tutored(request: Request, slug: str) -> HttpResponse:
    onboarding.finish_tutorial(membership=_own_membership(request, slug))
    return redirect("begin", slug=slug)


@login_required
@require_http_methods(["GET", "POST"])
def qualification(request: Request, slug: str) -> HttpResponse:
    """Show the pair to answer; after an answer, the solution; after a round, the result."""
    membership = _own_membership(request, slug)
    if onboarding.next_step(membership) != onboarding.QUALIFICATION and membership.qualified_at is None:
        return redirect("begin", slug=slug)
    try:
        if request.method == "POST":
            return _answered(request, membership)
        trial = onboarding.current_trial(membership=membership)
    except Refused as refused:
        return _refusal(request, refused, 409)
    context = {"campaign": membership.campaign, "size": membership.campaign.qualification_size}
    completed = trials.last_completed_round(membership)
    if trial is None or (completed and trial.number == 0 and "next" not in request.GET):
        result = trials.result(membership)
        is_out = result is not None and not result.passed and not result.rounds_left
        context |= {"result": result}
        if is_out:
            context["completion"] = recruitment.completion(membership, screened_out=True)
        return render(request, "annotate/desk/qualification_result.html", context)
    return render(request, "annotate/desk/qualification.html", context | {"trial": trial})


def _answered(request: Request, membership: Membership) -> HttpResponse:
    choice, trial_id = request.POST.get("answer", ""), request.POST.get("trial", "")
    if choice not in SIDES or not re.fullmatch(r"[0-9]{1,18}", trial_id):
        raise Refused("malformed", _("Nothing was stored: choose the left image, the right one, or “can't tell”."))
    trial = onboarding.answer_trial(membership=membership, trial_id=int(trial_id), choice=choice)
    size = len(onboarding.round_of(membership=membership, number=trial.round))
    context = {"campaign": membership.campaign, "trial": trial, "size": size, "is_last": trial.number == size - 1}
    return render(request, "annotate/desk/qualification.html", context | {"feedback": True})


@require_http_methods(["GET", "HEAD", "POST"])
def join(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation. Only the button takes a place, so that link previews take none."""
    person = request.user if isinstance(request.user, User) else None
    try:
        if request.method == "POST":
            return _joined(request, token, person)
        invitation = Invitation.objects.select_related("campaign").filter(token=token).first()
        if invitation is None:
            raise Refused("no_such_invitation", invitations.unknown_invitation())
        if person and invitation.campaign.memberships.current().filter(annotator=person).exists():
            return redirect("begin", slug=invitation.campaign.slug)
        participant = None if person else recruitment.participant_of(invitation.campaign, request.GET)
        taken = invitations.taken_by(invitation, invitations.browser_of(request), participant)
        has_place = not person and bool(taken)
        comparisons = None if has_place else invitations.require_place(invitation)
    except Refused as refused:
        response = _refusal(request, refused, REFUSAL_STATUS.get(refused.code, 409))
        return invitations.give_cookie(request, response)
    context = {
        "campaign": invitation.campaign,
        "comparisons": comparisons,
        "minutes": trials.minutes_needed(invitation.campaign, comparisons) if comparisons else None,
        "has_place": has_place,
    }
    return invitations.give_cookie(request, render(request, "annotate/desk/join.html", context))


def _joined(request: HttpRequest, token: str, person: User | None) -> HttpResponse:
    """Take a place, or continue with the one that this browser has taken, and sign a guest in."""
    browser = invitations.browser_of(request)
    if person is None and not browser:
        raise Refused("no_cookie", _("Your browser does not keep cookies. Allow them for this site, then try again."))
    with invitations.limited(request, token=token, browser=browser, person=person):
        membership = invitations.join(token=token, browser=browser, person=person, query=request.GET)
    if person is None:
        login(request, membership.annotator, backend=SIGN_IN_BACKEND)
    return redirect("begin", slug=membership.campaign.slug)


@require_http_methods(["GET", "HEAD", "POST"])
def come_back(request: HttpRequest, signed: str) -> HttpResponse:
    """Sign a guest in again by their personal link, on any device. Accounts with a password have no such link."""
    try:
        guest = guest_links.guest_of(signed)
    except signing.BadSignature as error:
        raise Http404("This link is incomplete or was altered.") from error
    except Refused as refused:
        return _refusal(request, refused, REFUSAL_STATUS[refused.code])
    if request.method != "POST":
        return render(request, "annotate/desk/come_back.html")
    guest_links.renew(guest)
    login(request, guest, backend=SIGN_IN_BACKEND)
    return redirect("home")


def _return_link(request: Request) -> str:
    if not request.user.guest:
        return ""
    return request.build_absolute_uri(reverse("come_back", args=[guest_links.signed(request.user)]))


def _refusal(request: HttpRequest, refused: Refused, status: int) -> HttpResponse:
    response = render(request, "annotate/desk/refusal.html", {"refusal": refused.message}, status=status)
    if isinstance(refused, invitations.TooManyJoins):
        response["Retry-After"] = str(refused.retry_after)
    return response
