"""The report of a user study (App. C), as a page and as tables to take away."""

import csv

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_GET

from annotate.models import Campaign
from annotate.studies import report as studies_report
from annotate.studies.plots import preference_plot
from annotate.web.requests import Request, leads_only


def _study(request: Request, slug: str) -> tuple[Campaign, studies_report.Study]:
    leads_only(request, "The study's report is")
    campaign = get_object_or_404(Campaign, slug=slug)
    if campaign.kind != Campaign.Kind.STUDY:
        raise Http404("This campaign is not a study.")
    return campaign, studies_report.study(campaign)


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
    return render(request, "annotate/studies/study_report.html", context)


def _paper(campaign: Campaign) -> list[tuple[str, list[float]]]:
    return [
        (couple, [shares[question] for question in campaign.questions])
        for couple, shares in studies_report.PAPER.items()
    ]


HEADER = (
    *("preferred", "over", "question", "ratio", "low", "high", "naive_low", "naive_high"),
    *("wins", "losses", "cant_tell", "participants", "faces", "p_participants", "simulated"),
)


@login_required
@require_GET
def study_table(request: Request, slug: str, form: str) -> HttpResponse:
    """The same figures as CSV or LaTeX. What is undefined is left empty."""
    campaign, study = _study(request, slug)
    if form == "csv":
        response = HttpResponse(content_type="text/csv; charset=utf-8")
        writer = csv.writer(response)
        writer.writerow(HEADER)
        writer.writerows(_cells(row, simulated=study.any_simulated) for row in study.rows)
    else:
        response = HttpResponse(_latex(study), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{campaign.slug}-study.{form}"'
    return response


def _cells(row: studies_report.Row, *, simulated: bool) -> list:
    found = row.found
    low, high = found.interval or ("", "")
    naive_low, naive_high = found.naive_interval or ("", "")
    return [
        *(row.one, row.other, row.question.value, "" if found.ratio is None else found.ratio, low, high),
        *(naive_low, naive_high, found.wins, found.losses, found.ties, found.participants, found.faces),
        *("" if found.p_participants is None else found.p_participants, simulated),
    ]


def _latex(study: studies_report.Study) -> str:
    lines = [r"\begin{tabular}{llcc}", r"Comparison & Question & Preference & 95\% interval \\ \hline"]
    for row in study.rows:
        found = row.found
        ratio = "--" if found.ratio is None else rf"{found.ratio:.0%} vs {1 - found.ratio:.0%}".replace("%", r"\%")
        interval = "--" if found.interval is None else "{:.0%} to {:.0%}".format(*found.interval).replace("%", r"\%")
        lines.append(rf"{row.one} vs {row.other} & {row.question.value} & {ratio} & {interval} \\")
    note = ["% The participants include SIMULATED ones."] if study.any_simulated else []
    return "\n".join([*note, *lines, r"\end{tabular}", ""])
