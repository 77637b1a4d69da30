"""Pages. Thin: forms check, services write, selectors read, templates show."""

import uuid

import markdown
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.html import escape
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_GET, require_POST
from django_htmx.middleware import HtmxDetails

from annotate import agreement, curves, interval_plots
from annotate.api.errors import status_of
from annotate.api.serializers import side_of
from annotate.forms import SKIP_REASONS, AnswerForm, SkipForm
from annotate.models import Campaign, Lease, User
from annotate.models.campaigns import Criterion
from annotate.selectors import comparisons, evaluations, newest, pictures, progress, restorer_charts, restorer_runs
from annotate.selectors import runs as training
from annotate.services import judging


class Request(HttpRequest):
    """What `login_required` and the htmx middleware make of a request."""

    user: User
    htmx: HtmxDetails


# The pair on the screen and the one that the browser fetches and decodes meanwhile.
DEPTH = 2
RESTORER_KINDS = ("base", "refl")
PICTURE_CACHE_SECONDS = 60  # a step that is made again, after an interruption, makes its pictures again
ANSWER_KEYS = {"left": "asd", "right": "jkl"}  # one for each rule, under either hand


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
    reports = Campaign.objects.order_by("name") if request.user.is_staff else None
    return render(request, "annotate/home.html", {"cards": cards, "demo": progress.demo_run(), "reports": reports})


def _member_campaign(request: Request, slug: str) -> Campaign:
    """The campaign if the user is a member or staff; otherwise it does not exist for them."""
    campaigns = Campaign.objects.all()
    if not request.user.is_staff:
        campaigns = campaigns.filter(memberships__annotator=request.user)
    return get_object_or_404(campaigns, slug=slug)


@login_required
@require_GET
def guideline(request: Request, slug: str) -> HttpResponse:
    campaign = _member_campaign(request, slug)
    examples = {example.criterion: example for example in campaign.examples.select_related("better", "worse")}
    return render(
        request,
        "annotate/guideline.html",
        {
            "campaign": campaign,
            "rules": [(criterion, examples.get(criterion.value)) for criterion in Criterion],
            "text": mark_safe(markdown.markdown(escape(campaign.guideline))),  # noqa: S308 - escaped first
        },
    )


@login_required
@require_GET
def judge(request: Request, slug: str) -> HttpResponse:
    campaign = _member_campaign(request, slug)
    return _desk(request, campaign)


@login_required
@require_POST
def answer(request: Request, slug: str) -> HttpResponse:
    campaign = _member_campaign(request, slug)
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
    except judging.Refused as refused:
        return _desk(request, campaign, notice=refused.message, status=status_of(refused))
    stored = (side_of(judgement), judgement.criterion or None)
    if not created and stored != (choice, criterion):
        notice = "You have answered this pair before; the first answer stands. Use Undo to change it."
        return _desk(request, campaign, notice=notice)
    return _desk(request, campaign)


@login_required
@require_POST
def skip(request: Request, slug: str) -> HttpResponse:
    campaign = _member_campaign(request, slug)
    form = SkipForm(request.POST)
    if not form.is_valid():
        return _desk(request, campaign, notice=_first_error(form), status=400)
    try:
        judging.skip_item(
            annotator=request.user, lease_token=form.cleaned_data["lease"], reason=form.cleaned_data["reason"]
        )
    except judging.Refused as refused:
        return _desk(request, campaign, notice=refused.message, status=status_of(refused))
    return _desk(request, campaign)


@login_required
@require_POST
def undo(request: Request, slug: str) -> HttpResponse:
    campaign = _member_campaign(request, slug)
    try:
        judging.undo_last(annotator=request.user, campaign=campaign)
    except judging.Refused as refused:
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
    except judging.Refused as refused:
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


@login_required
@require_GET
def live(request: Request, slug: str) -> HttpResponse:
    """The fragment that shows, without reload, what the SVM and the demo are doing."""
    campaign = _member_campaign(request, slug)
    return render(
        request,
        "annotate/live.html",
        {"campaign": campaign, "predictor": progress.predictor_status(), "demo": progress.demo_run()},
    )


@login_required
@require_GET
def report(request: Request, slug: str) -> HttpResponse:
    if not request.user.is_staff:
        raise PermissionDenied("The report is for leads.")
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


def _leads_only(request: Request) -> None:
    if not request.user.is_staff:
        raise PermissionDenied("Runs are for leads.")


def _run_or_404(request: Request, name: str) -> training.Run:
    _leads_only(request)
    found = training.get_run(name)
    if found is None:
        raise Http404(f"There is no run {name}.")
    return found


def _progress_of_run(found: training.Run) -> dict:
    if found.kind in RESTORER_KINDS:
        restorer = restorer_runs.history(found)
        return {"run": found, "history": restorer, "groups": curves.restorer_plots(restorer, found.total)}
    if found.kind == "evaluation":
        return {"run": found}
    history = training.history(found)
    return {"run": found, "history": history, "plots": curves.run_plots(history, found.total)}


@login_required
@require_GET
def runs(request: Request) -> HttpResponse:
    _leads_only(request)
    found = [(run, newest.figures(run)) for run in training.list_runs()]
    return render(request, "annotate/runs.html", {"runs": found})


@login_required
@require_GET
def run(request: Request, name: str) -> HttpResponse:
    found = _run_or_404(request, name)
    if found.problem:
        return render(request, "annotate/run.html", {"run": found})
    context = _progress_of_run(found)
    if found.kind in RESTORER_KINDS:
        grid = pictures.grid(found, request.GET.get("step", ""))
        context |= {
            "tables": restorer_charts.tables(context["history"]),
            "grid": grid,
            "sources": training.sources(found),
        }
        return render(request, "annotate/run_restorer.html", context)
    if found.kind == "evaluation":
        return render(request, "annotate/run_evaluation.html", context | _comparison(request, found))
    evaluation = evaluations.evaluation(found)
    calibration = evaluation.calibration if evaluation else None
    return render(
        request,
        "annotate/run.html",
        context
        | {
            "origins": training.ORIGINS.values(),
            "evaluation": evaluation,
            "intervals": interval_plots.interval_plot(evaluation) if evaluation else None,
            "reliability": curves.reliability(calibration) if calibration else None,
        },
    )


def _comparison(request: Request, found: training.Run) -> dict:
    comparison = comparisons.comparison(found)
    if not comparison:
        return {}
    chosen = {name: request.GET.get(name, "") for name in ("face", "left", "right")}
    return {
        "comparison": comparison,
        "differences": interval_plots.difference_plots(comparison),
        "slides": comparisons.slides(found, comparison, **chosen),
    }


@login_required
@require_GET
def run_live(request: Request, name: str) -> HttpResponse:
    """The fragment that shows, without reload, how a run gets on."""
    return render(request, "annotate/run_live.html", _progress_of_run(_run_or_404(request, name)))


@login_required
@require_GET
def run_faces(request: Request, name: str) -> HttpResponse:
    """The fragment with the pictures of a step; 204 while the newest step is still the one that was `seen`."""
    found = _run_or_404(request, name)
    step = request.GET.get("step", "")
    grid = pictures.grid(found, step)
    if found.looks_again and grid and str(grid.step) == request.GET.get("seen"):
        return HttpResponse(status=204)
    response = render(request, "annotate/run_faces.html", {"run": found, "grid": grid})
    if "seen" not in request.GET:
        address = reverse("run", args=[name])
        response["HX-Replace-Url"] = address if not grid or grid.is_newest else f"{address}?step={grid.step}"
    return response


@login_required
@require_GET
def run_file(request: Request, name: str, file: str) -> FileResponse:
    """A picture of the run, or a table of its evaluation; nothing else of the folder has an address."""
    found = _run_or_404(request, name)
    picture = pictures.picture_file(found, file)
    if picture:
        response = FileResponse(picture.open("rb"), content_type="image/png")
        response["Cache-Control"] = f"private, max-age={PICTURE_CACHE_SECONDS}"
        return response
    path = evaluations.download(found, file)
    if path is None:
        raise Http404(f"The run {name} has no {file}.")
    return FileResponse(
        path.open("rb"),
        as_attachment=True,
        filename=f"{name}-{file}",
        content_type=f"{evaluations.DOWNLOADS[file]}; charset=utf-8",
    )
