"""Agreement report as a page and as HTML, CSV and LaTeX files.

The HTML file is self-contained, with its pictures embedded. Files contain pseudonyms (A1, A2, ...) instead of names.
"""

import base64
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.template.loader import render_to_string
from django.utils.translation import gettext, gettext_lazy, override

from annotate.agreement import plots
from annotate.agreement.people import NamedEstimate, PeopleReport
from annotate.agreement.report import AgreementReport, agreement_report
from annotate.agreement.scorers import Dispute, ScorersReport
from annotate.common import image_store
from annotate.common.sides import FIRST
from annotate.models import Campaign, Candidate
from annotate.runs.frm_evaluation import Share
from annotate.statistics.bootstrap import Estimate
from annotate.web import style_sheets
from rewardlab import tables

FORMS = {"html": gettext_lazy("Download as one HTML file"), "csv": "CSV", "tex": "LaTeX"}
CONTENT_TYPES = {"html": "text/html", "csv": "text/csv", "tex": "application/x-tex"}
HEADER = ("section", "item", "figure", "value", "low", "high", "count", "p", "note")

Address = Callable[[Candidate], str]


@dataclass(frozen=True)
class DisputeView:
    """A disputed pair with the URLs of its pictures."""

    pair: int
    first: str
    second: str
    first_title: str
    second_title: str
    summary: str


def context(report: AgreementReport, address: Address) -> dict[str, Any]:
    """Build the context of the report's templates. address: from a candidate to its picture's URL."""
    people, scorers = report.people, report.scorers
    made: dict[str, Any] = {"report": report, "forms": FORMS}
    if people:
        made |= {
            "over_time_plot": plots.over_time_plot(people),
            "kappa_map": plots.kappa_map(people),
            "rules_map": plots.rules_map(people),
            "trace_plot": plots.trace_plot(report.traces),
        }
    if scorers:
        made |= {
            "scorers_plot": plots.scorers_plot(scorers),
            "strata_map": plots.strata_map(scorers),
            "reliability": plots.reliability_plots(scorers),
            "missing": [scorer for scorer in scorers.scorers if not scorer.rows],
            "galleries": list(_galleries(scorers, address)),
        }
    return made


def _galleries(scorers: ScorersReport, address: Address) -> Iterator[tuple[str, str, list[DisputeView]]]:
    for title, note, disputes in (
        (
            gettext("Pairs on which people disagree most"),
            gettext("The most evenly divided first."),
            scorers.disputed_by_people,
        ),
        (
            gettext("Pairs on which %(scorer)s and people disagree") % {"scorer": scorers.reference},
            gettext("Sorted by how clearly people agree, then by the scorer's confidence."),
            scorers.disputed_by_scorer,
        ),
    ):
        if disputes:
            yield title, note, [_dispute_view(dispute, address) for dispute in disputes]


def _dispute_view(dispute: Dispute, address: Address) -> DisputeView:
    first, second = dispute.pair.first, dispute.pair.second
    summary = f"{dispute.summary}."
    if dispute.scorer:
        summary += f" {_preference(dispute)}"
    return DisputeView(dispute.pair.pk, address(first), address(second), _title(first), _title(second), summary)


def _preference(dispute: Dispute) -> str:
    prefers_first = dispute.preferred == FIRST
    values = {"scorer": dispute.scorer}
    if dispute.p is None:
        sentence = (
            gettext("%(scorer)s prefers the first image.")
            if prefers_first
            else gettext("%(scorer)s prefers the second image.")
        )
        return sentence % values
    sentence = (
        gettext("%(scorer)s prefers the first image with probability %(p)s.")
        if prefers_first
        else gettext("%(scorer)s prefers the second image with probability %(p)s.")
    )
    return sentence % (values | {"p": f"{dispute.p:.0%}"})


def _title(candidate: Candidate) -> str:
    return gettext("the photograph") if candidate.source == Candidate.HQ else candidate.source


def render(campaign: Campaign, form: str, *, code: str = "", with_simulated: bool | None = None) -> str:
    """Render the report as `html`, `csv` or `tex`, in English: a file is the same for all readers."""
    with override("en"):
        return _render(agreement_report(campaign, pseudonyms=True, with_simulated=with_simulated), form, code)


def _render(report: AgreementReport, form: str, code: str) -> str:
    if form == "csv":
        return _csv(report)
    if form == "tex":
        return _latex(report)
    known = {"style": style_sheets.text(), "written": datetime.now(UTC), "code": code}
    return render_to_string("annotate/agreement/agreement_file.html", context(report, _inline) | known)


def _inline(candidate: Candidate) -> str:
    """Return the picture as a data URL; empty if its file is missing or damaged."""
    try:
        data = image_store.read(candidate.sha256)
    except image_store.BrokenImage:
        return ""
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _rows(report: AgreementReport) -> Iterator[tuple]:
    """Yield rows with the columns of `HEADER`. Undefined values are None, with the reason as note."""
    if report.people:
        yield from _people_rows(report.people)
    if report.scorers:
        yield from _scorer_rows(report.scorers)
    for trace in report.traces:
        for step, share in trace.points:
            yield (
                "reward model during tuning",
                trace.run,
                f"step {step:.0f}",
                share,
                None,
                None,
                trace.pairs,
                None,
                "",
            )


def _people_rows(people: PeopleReport) -> Iterator[tuple]:
    sections = {
        "all pairs": people.overall,
        "kind of pair": people.strata,
        "rule": people.rules,
        "restorer pair": people.restorer_pairs,
        "over time": [line for _, line in people.over_time],
        "mirrored repeats": [people.retest],
    }
    for section, lines in sections.items():
        yield from (_line(section, line) for line in lines)
    yield (*_line("side", people.left)[:-2], people.left_p, people.left.estimate.why)
    for pair in people.annotator_pairs:
        for figure, estimate in (("same answer", pair.share), ("Cohen's kappa", pair.kappa)):
            yield ("two annotators", f"{pair.one} and {pair.other}", figure, *_values(estimate))
    for row in people.annotators:
        item = f"{row.name}{' (SIMULATED)' if row.simulated else ''}"
        yield ("annotator", item, "accuracy (Dawid-Skene)", *_values(row.accuracy))
        yield ("annotator", item, "left image chosen", row.left_share, None, None, row.sided, row.left_p, "")
        if row.retest:
            yield ("annotator", item, "same answer to mirrored repeats", *row.retest, row.retested, None, "")


def _scorer_rows(scorers: ScorersReport) -> Iterator[tuple]:
    for ceiling in scorers.ceilings:
        for title, share in (
            ("two annotators agree", ceiling.two_agree),
            ("one annotator agrees with the majority of the others", ceiling.one_against_rest),
        ):
            if share:
                yield ("ceiling", title, f"agreement, {ceiling.stratum}", *_share(share), None, "")
    for scorer in scorers.scorers:
        item = scorer.answers.title
        if not scorer.rows:
            yield ("scorer", item, "agreement", None, None, None, None, None, scorer.note)
        for found in scorer.rows:
            if found.share:
                yield (
                    "scorer",
                    item,
                    f"agreement, {found.stratum}",
                    *_share(found.share),
                    found.mcnemar_p,
                    found.note,
                )
        for stratum, share in scorer.with_one.items():
            yield ("scorer", item, f"agreement with one annotator, {stratum}", *_share(share), None, "")
        for title, share in scorer.strata:
            if share:
                yield ("scorer by kind of pair", item, title, *_share(share), None, "")
        if scorer.calibration:
            for name in ("ece", "brier", "log_loss"):
                yield ("calibration", item, name, getattr(scorer.calibration, name), None, None, None, None, "")


def _line(section: str, line: NamedEstimate) -> tuple:
    return (section, line.title, "agreement", *_values(line.estimate))


def _values(estimate: Estimate) -> tuple:
    return estimate.value, estimate.low, estimate.high, estimate.count, None, estimate.why


def _share(share: Share) -> tuple:
    return share.value, share.low, share.high, share.count


def _csv(report: AgreementReport) -> str:
    campaign = ("campaign", report.campaign.name, "state", None, None, None, report.pairs, None, _provenance(report))
    return tables.to_csv(HEADER, (campaign, *_rows(report)))


def _provenance(report: AgreementReport) -> str:
    simulated = f"; {report.simulated} of {report.annotators} annotators are SIMULATED" if report.simulated else ""
    left_out = f"; {report.left_out} answers of simulated annotators are left out" if report.left_out else ""
    return f"{report.state}{simulated}{left_out}"


def _latex(report: AgreementReport) -> str:
    """Write a table of people and, on a gold set, a table of scorers."""
    found = list(_rows(report))
    sections = ("all pairs", "kind of pair", "rule", "restorer pair", "mirrored repeats")
    people = [(item, *figures) for section, item, _, *figures in found if section in sections]
    scorers = [
        (f"{item}, {figure.removeprefix('agreement, ')}", value, *figures)
        for section, item, figure, value, *figures in found
        if section == "ceiling" or (section == "scorer" and value is not None)
    ]
    basis = f"{report.campaign.name}: {report.answers} answers to {report.answered} pairs; {_provenance(report)}."
    made = [_latex_table(people, f"Agreement between annotators. {basis}", "tab:agreement")]
    if scorers:
        caption = f"Agreement of scorers with the majority of annotators. {basis}"
        made.append(_latex_table(scorers, caption, "tab:agreement-scorers"))
    return "\n".join(made)


def _latex_table(rows: list[tuple], caption: str, label: str) -> str:
    """Write a LaTeX table. rows: title, value, low, high, count, p, note."""
    cells = [
        (title, tables.decimals(value, 3), _interval(low, high), count, tables.decimals(p, 3))
        for title, value, low, high, count, p, _ in rows
    ]
    heads = ("", "Value", "95% interval", "Count", tables.Raw("$p$"))
    return tables.latex(heads, cells, caption=caption, label=label)


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None else f"{tables.decimals(low, 3)} to {tables.decimals(high, 3)}"
