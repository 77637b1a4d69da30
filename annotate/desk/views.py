"""Pages of the judging desk. The browser holds a few pairs ahead, and each answer fetches the next (`static/desk.js`).
Without JavaScript the plain forms work, one page per pair."""

import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from annotate.accounts import hotkeys
from annotate.common.refusals import Refused, status_of
from annotate.desk import example_notes, judging, leasing, onboarding, progress, recruitment, shown_pairs
from annotate.desk.forms import SKIP_REASONS, AnswerForm, SkipForm
from annotate.models import Campaign, Lease
from annotate.models.campaigns import Criterion
from annotate.pipeline import stage as pipeline_stage
from annotate.statistics.annotator_checks import TOO_FAST
from annotate.web.markdown import to_html
from annotate.web.requests import Request, member_campaign

# The pair on screen and those that the browser fetches and decodes in advance: enough for a slow connection.
DEPTH = 4
PACE = {"break_after": 45 * 60, "too_fast": TOO_FAST}  # seconds of judging without a break, and per answer


@login_required
@require_GET
def judge(request: Request, slug: str) -> HttpResponse:
    campaign = member_campaign(request, slug)
    membership = onboarding.membership_of(annotator=request.user, campaign=campaign)
    if membership and onboarding.next_page(membership):
        return redirect("begin", slug=slug)
    return _desk(request, campaign)


@login_required
@require_POST
def answer(request: Request, slug: str) -> HttpResponse:
    campaign = member_campaign(request, slug)
    leased = None
    try:
        with transaction.atomic():  # the answer and the next pairs are one commit
            notice, status = _store_answer(request, campaign), 200
            if request.htmx:
                leased = _lease(request, campaign)
    except Refused as refused:
        notice, status = refused.message, status_of(refused)
    return _desk(request, campaign, notice=notice, status=status, leased=leased)


def _store_answer(request: Request, campaign: Campaign, *, change: bool = False) -> str:
    """Store the submitted answer. Returns a notice for the annotator, or an empty string. Raises `Refused`."""
    form = AnswerForm(request.POST, questions=campaign.questions)
    if not form.is_valid():
        raise Refused("malformed", _first_error(form))
    choice, criterion, kind = form.cleaned_data["answer"]
    judgement, created = judging.submit_judgement(
        annotator=request.user,
        lease_token=form.cleaned_data["lease"],
        key=form.cleaned_data["key"],
        choice=choice,
        criterion=criterion,
        kind=kind,
        note=form.cleaned_data["note"],
        seconds=form.cleaned_data["seconds"],
        tools=form.cleaned_data["tools"],
        change=change,
    )
    stored = (shown_pairs.side_of(judgement), judgement.criterion or None, judgement.cant_tell_kind)
    if not created and stored != (choice, criterion, kind):
        return _("You have already answered this pair; the first answer was kept. Use Undo to change it.")
    return ""


@login_required
@require_POST
def skip(request: Request, slug: str) -> HttpResponse:
    campaign = member_campaign(request, slug)
    form = SkipForm(request.POST)
    if not form.is_valid():
        return _desk(request, campaign, notice=_first_error(form), status=400)
    try:
        judging.skip_item(
            annotator=request.user,
            lease_token=form.cleaned_data["lease"],
            reason=form.cleaned_data["reason"],
            note=form.cleaned_data["note"],
        )
    except Refused as refused:
        return _desk(request, campaign, notice=refused.message, status=status_of(refused))
    return _desk(request, campaign)


@login_required
@require_POST
def undo(request: Request, slug: str) -> HttpResponse:
    campaign = member_campaign(request, slug)
    expected = next(iter(shown_pairs.tokens_of(request.POST.get("last", ""))), None)
    try:
        judging.undo_last(annotator=request.user, campaign=campaign, expected=expected)
    except Refused as refused:
        return _desk(request, campaign, notice=refused.message, status=status_of(refused))
    return _desk(request, campaign, notice=_("Undone. Here is the pair again."))


@login_required
@require_GET
def history(request: Request, slug: str) -> HttpResponse:
    """List the annotator's own answers with their images, newest first."""
    campaign = member_campaign(request, slug)
    before = next(iter(shown_pairs.tokens_of(request.GET.get("before", ""))), None)
    page, has_older = shown_pairs.history(annotator=request.user, campaign=campaign, before=before)
    older = urlencode({"before": page[-1].lease.token}) if has_older else ""
    return render(
        request,
        "annotate/desk/history.html",
        {"campaign": campaign, "answers": page, "older": older, "is_first_page": before is None},
    )


@login_required
@require_http_methods(["GET", "POST"])
def change(request: Request, slug: str, token: uuid.UUID) -> HttpResponse:
    """Show one of the annotator's own answers, or replace it; the old one is kept."""
    campaign = member_campaign(request, slug)
    lease = shown_pairs.own_lease(annotator=request.user, campaign=campaign, token=token)
    if lease is None or lease.judgement is None:
        raise Http404("You have no such answer.")
    notice, status = "", 200
    if request.method == "POST":
        try:
            notice = _store_answer(request, campaign, change=True)
            messages.success(request, notice or _("Changed. The earlier answer is kept as well."))
            return redirect("history", slug=slug)
        except Refused as refused:
            notice, status = refused.message, status_of(refused)
    context = {
        "campaign": campaign,
        "pair": shown_pairs.pair_views([lease], campaign)[0],
        "past": shown_pairs.PastAnswer(lease, lease.judgement),
        **_keys(request),
        "notice": notice,
    }
    return render(request, "annotate/desk/change.html", context, status=status)


def _keys(request: Request) -> dict[str, Any]:
    """Return the person's keys, and each rule with its keys for left and right."""
    keys = hotkeys.keys_of(request.user)
    rules = [(rule, keys[f"left_{rule.value}"], keys[f"right_{rule.value}"]) for rule in Criterion]
    return {"keys": keys, "rules": rules}


def _first_error(form: AnswerForm | SkipForm) -> str:
    name, errors = next(iter(form.errors.items()))
    return _("Nothing was stored: %(field)s: %(error)s") % {"field": name, "error": errors[0]}


@dataclass(frozen=True)
class _Leased:
    """The pairs that are held now, or why there are none. is_waiting: others have locked what is left."""

    leases: list[Lease]
    is_waiting: bool = False
    refused: Refused | None = None


def _lease(request: Request, campaign: Campaign, *, wait: bool = False) -> _Leased:
    try:
        if wait:
            return _Leased(leasing.wait_for_items(annotator=request.user, campaign=campaign))
        return _Leased(*leasing.lease_unlocked_items(annotator=request.user, campaign=campaign, depth=DEPTH))
    except Refused as refused:
        return _Leased([], refused=refused)


def _desk(
    request: Request, campaign: Campaign, *, notice: str = "", status: int = 200, leased: _Leased | None = None
) -> HttpResponse:
    """Render the judging page, or for the script only what is new on it. A plain form's POST redirects; a refused one
    renders the page. leased: if the pairs are leased already."""
    if request.method == "POST" and not request.htmx and status == 200:
        return redirect("judge", slug=campaign.slug)
    leased = leased or _lease(request, campaign)
    if leased.is_waiting:
        leased = _lease(request, campaign, wait=True)
    leases, refusal = leased.leases, ""
    if leased.refused:
        refusal, status = leased.refused.message, status_of(leased.refused)
    known = shown_pairs.tokens_of(request.headers.get("X-Known-Leases", ""))
    last = shown_pairs.last_closed(annotator=request.user, campaign=campaign)
    membership = onboarding.membership_of(annotator=request.user, campaign=campaign)
    own = progress.progress_of(annotator=request.user, campaign=campaign)
    context = {
        "campaign": campaign,
        "pairs": shown_pairs.pair_views([lease for lease in leases if lease.token not in known], campaign),
        "held": ",".join(str(lease.token) for lease in leases),
        "last": last.token if last else None,
        "last_answer": shown_pairs.PastAnswer(last, last.judgement) if last and last.judgement else None,
        "skip_reasons": SKIP_REASONS,
        **_keys(request),
        "pace": PACE,
        "progress": own,
        "is_warned": bool(membership and membership.warned_at),
        "demo": pipeline_stage.demo_run(),
        "notice": notice,
        "refusal": refusal,
    }
    if membership and membership.paused_at:
        context["completion"] = recruitment.completion(membership, screened_out=True)
    elif not leases and not refusal:
        context |= {"completion": recruitment.completion(membership), "others": _other_campaigns(request, campaign)}
    template = "annotate/desk/desk_update.html" if request.htmx else "annotate/desk/judge.html"
    response = render(request, template, context, status=status)
    # The back button must reload: an answer to a stale pair would be refused.
    response["Cache-Control"] = "no-store"
    response["X-Desk"] = str(request.user.pk)  # the page must not take another account's pairs for its own
    return response


def _other_campaigns(request: Request, campaign: Campaign) -> list[Campaign]:
    """Return the person's other open campaigns, for the page at the end of one."""
    return [one for one in progress.campaigns_of(request.user) if one.open and one != campaign]


@login_required
@require_GET
def guideline(request: Request, slug: str) -> HttpResponse:
    campaign = member_campaign(request, slug)
    onboarding.open_guideline(annotator=request.user, campaign=campaign)
    examples = {
        example.criterion: example for example in campaign.examples.select_related("better__face", "worse__face")
    }
    return render(
        request,
        "annotate/desk/guideline.html",
        {
            "campaign": campaign,
            "rules": [
                (criterion, example, example_notes.note_of(example) if example else "")
                for criterion in Criterion
                for example in (examples.get(criterion.value),)
            ],
            "text": to_html(campaign.guideline),
        },
    )
