"""Report of a user study (App. C), as a page and as CSV and LaTeX tables."""

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from annotate.models import Campaign
from annotate.studies import report as studies_report
from annotate.studies.plots import preference_plot
from annotate.web import simulated
from annotate.web.requests import Request, leads_only
from rewardlab import paper, tables


def _study(request: Request, slug: str) -> tuple[Campaign, studies_report.Study]:
    leads_only(request, _("Only leads can open the study's report."))
    campaign = get_object_or_404(Campaign, slug=slug)
    if campaign.kind != Campaign.Kind.STUDY:
        raise Http404("This campaign is not a study.")
    return campaign, studies_report.study(campaign, with_simulated=simulated.asked_for(request.GET))


@login_required
@require_GET
def study_report(request: Request, slug: str) -> HttpResponse:
    campaign, study = _study(request, slug)
    plots = [
        (question.label, preference_plot(question, rows))
        for question in campaign.questions
        if (rows := [row for row in study.rows if row.question == question and row.found.ratio is not None])
    ]
    context = {"campaign": campaign, "study": study, "plots": plots, "paper": _paper(campaign)}
    context |= {"query": request.GET.urlencode(), "switches": simulated.switches(request.GET)}
    return render(request, "annotate/studies/study_report.html", context)


def _paper(campaign: Campaign) -> list[tuple[str, list[float]]]:
    return [
        (restorer_pair, [shares[question] for question in campaign.questions])
        for restorer_pair, shares in paper.STUDY.items()
    ]


HEADER = (
    *("preferred", "over", "question", "ratio", "low", "high", "naive_low", "naive_high"),
    *("wins", "losses", "cant_tell", "participants", "faces", "p_participants", "simulated"),
)


@login_required
@require_GET
def study_table(request: Request, slug: str, form: str) -> HttpResponse:
    """Export the same figures as CSV or LaTeX. Undefined values are empty."""
    campaign, study = _study(request, slug)
    if form == "csv":
        rows = (_cells(row, any_simulated=study.any_simulated) for row in study.rows)
        response = HttpResponse(tables.to_csv(HEADER, rows), content_type="text/csv; charset=utf-8")
    else:
        response = HttpResponse(_latex(campaign, study), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{campaign.slug}-study.{form}"'
    return response


def _cells(row: studies_report.PreferenceRatio, *, any_simulated: bool) -> list[tables.Cell]:
    found = row.found
    return [
        *(row.one, row.other, row.question.value, found.ratio),
        *(found.interval or (None, None)),
        *(found.naive_interval or (None, None)),
        *(found.wins, found.losses, found.ties, found.participants, found.faces, found.p_participants, any_simulated),
    ]


def _latex(campaign: Campaign, study: studies_report.Study) -> str:
    rows = [
        (
            f"{row.one} vs {row.other}",
            row.question.value,
            None if found.ratio is None else f"{found.ratio:.0%} vs {1 - found.ratio:.0%}",
            None if found.interval is None else "{:.0%} to {:.0%}".format(*found.interval),
        )
        for row in study.rows
        for found in (row.found,)
    ]
    note = " The participants include SIMULATED ones." if study.any_simulated else ""
    note += f" {study.left_out} answers of simulated participants are left out." if study.left_out else ""
    if study.without_photograph:
        note += f" {study.without_photograph} of the faces have no photograph: their reference was the degraded image."
    return tables.latex(
        ("Comparison", "Question", "Preference", "95% interval"),
        rows,
        "llcc",
        caption=f"{campaign.name}: preferences of {len(study.participants)} participants.{note}",
        label=f"tab:{campaign.slug}",
    )
