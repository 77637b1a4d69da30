"""The judging desk."""

import uuid

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_GET, require_POST

from annotate.api.errors import status_of
from annotate.api.serializers import side_of
from annotate.forms import SKIP_REASONS, AnswerForm, SkipForm
from annotate.models import Campaign, Lease
from annotate.models.campaigns import Criterion
from annotate.selectors import progress
from annotate.services import judging
from annotate.services.refusals import Refused
from annotate.views.common import Request, member_campaign

# The pair on the screen and the one that the browser fetches and decodes meanwhile.
DEPTH = 2
ANSWER_KEYS = {"left": "asd", "right": "jkl"}  # one for each rule, under either hand


@login_required
@require_GET
def judge(request: Request, slug: str) -> HttpResponse:
    campaign = member_campaign(request, slug)
    return _desk(request, campaign)


@login_required
@require_POST
def answer(request: Request, slug: str) -> HttpResponse:
    campaign = member_campaign(request, slug)
    form = AnswerForm(request.POST)
    if not form.is_valid():
        return _desk(request, campaign, notice=_first_error(form), status=400)
    choice, criterion = form.cleaned_data["answer"]
    try:
        judgement, created = judging.submit_judgement(
            annotator=request.user,
            lease_token=form.cleaned_data["lease"],
            key=form.cleaned_data["key"],
            choice=choice,
            criterion=criterion,
            seconds=form.cleaned_data["seconds"],
        )
    except Refused as refused:
        return _desk(request, campaign, notice=refused.message, status=status_of(refused))
    stored = (side_of(judgement), judgement.criterion or None)
    if not created and stored != (choice, criterion):
        notice = "You have answered this pair before; the first answer stands. Use Undo to change it."
        return _desk(request, campaign, notice=notice)
    return _desk(request, campaign)


@login_required
@require_POST
def skip(request: Request, slug: str) -> HttpResponse:
    campaign = member_campaign(request, slug)
    form = SkipForm(request.POST)
    if not form.is_valid():
        return _desk(request, campaign, notice=_first_error(form), status=400)
    try:
        judging.skip_item(
            annotator=request.user, lease_token=form.cleaned_data["lease"], reason=form.cleaned_data["reason"]
        )
    except Refused as refused:
        return _desk(request, campaign, notice=refused.message, status=status_of(refused))
    return _desk(request, campaign)


@login_required
@require_POST
def undo(request: Request, slug: str) -> HttpResponse:
    campaign = member_campaign(request, slug)
    try:
        judging.undo_last(annotator=request.user, campaign=campaign)
    except Refused as refused:
        return _desk(request, campaign, notice=refused.message, status=status_of(refused))
    return _desk(request, campaign, notice="Taken back. Here is the pair again.")


def _sides(lease: Lease) -> list[dict]:
    """The two images with the keys and rules of their answers."""
    return [
        {"name": name, "candidate": getattr(lease, name), "answers": list(zip(keys, Criterion, strict=True))}
        for name, keys in ANSWER_KEYS.items()
    ]


def _first_error(form: AnswerForm | SkipForm) -> str:
    field, errors = next(iter(form.errors.items()))
    return f"Nothing was stored: {field}: {errors[0]}"


def _desk(request: Request, campaign: Campaign, *, notice: str = "", status: int = 200) -> HttpResponse:
    """The judging page, or only the desk for htmx. A plain form's POST is answered by a redirect, or, refused,
    by the page itself."""
    if request.method == "POST" and not request.htmx and status == 200:
        return redirect("judge", slug=campaign.slug)
    refusal = ""
    try:
        leases = judging.lease_items(annotator=request.user, campaign=campaign, depth=DEPTH)
    except Refused as refused:
        leases, refusal, status = [], refused.message, status_of(refused)
    context = {
        "campaign": campaign,
        "lease": leases[0] if leases else None,
        "upcoming": leases[1] if len(leases) > 1 else None,
        "key": uuid.uuid4(),
        "sides": _sides(leases[0]) if leases else [],
        "skip_reasons": SKIP_REASONS,
        "progress": progress.progress_of(annotator=request.user, campaign=campaign),
        "demo": progress.demo_run(),
        "notice": notice,
        "refusal": refusal,
    }
    template = "annotate/judge.html#desk" if request.htmx else "annotate/judge.html"
    response = render(request, template, context, status=status)
    # The back button must ask again: a stale pair would only be refused.
    response["Cache-Control"] = "no-store"
    return response
