"""Plots and heat maps of an agreement report."""

from collections.abc import Sequence
from dataclasses import replace

from django.utils.translation import gettext

from annotate.agreement.people import PeopleReport
from annotate.agreement.scorers import ScorersReport, Trace
from annotate.charts import heat_maps
from annotate.charts.axes import Axis, percent, share_axis, value_axis
from annotate.charts.heat_maps import HeatMap
from annotate.charts.intervals import IntervalPlot
from annotate.charts.lines import Plot, Series, plot
from annotate.runs import plots as runs_plots
from annotate.runs.frm_evaluation import FrmEvaluation
from annotate.runs.plots import interval_plot
from rewardlab import paper

CLASSES = ("line", "line second", "line third", "line fourth")


def scorers_plot(report: ScorersReport) -> IntervalPlot | None:
    """Plot agreement on contested pairs, one row per scorer, with human agreement as a band."""
    rows = [row for scorer in report.answering for row in scorer.rows]
    ceiling = next((found.one_against_rest for found in report.ceilings if found.stratum == "contested"), None)
    return interval_plot(FrmEvaluation(rows=rows, two_agree=ceiling))


def reliability_plots(report: ScorersReport) -> list[tuple[str, Plot]]:
    """Plot the calibration of every scorer that gives probabilities."""
    found = []
    for scorer in report.answering:
        if scorer.calibration and (drawn := runs_plots.reliability(scorer.calibration)):
            label = gettext("%(scorer)s: predicted probability against observed share of the votes")
            found.append((scorer.title, replace(drawn, label=label % {"scorer": scorer.title})))
    return found


def over_time_plot(report: PeopleReport) -> Plot | None:
    """Plot the share of equal answers over the parts of the campaign."""
    known = [(number, line.estimate) for number, (_, line) in enumerate(report.over_time, start=1)]
    points = [(float(number), estimate.value) for number, estimate in known if estimate.value is not None]
    if len(points) < 2:
        return None
    low = [(float(number), e.low) for number, e in known if e.low is not None]
    high = [(float(number), e.high) for number, e in known if e.high is not None]
    listed = ", ".join(f"{value:.0%}" for _, value in points)
    return plot(
        gettext("Agreement over time"),
        gettext("Share of equal answers in %(n)s parts of the campaign, from first to last: %(shares)s")
        % {"n": len(points), "shares": listed},
        [Series("line", gettext("two annotators give the same answer"), points, f"{points[-1][1]:.0%}")],
        Axis(gettext("parts of equal size, in the order of answers"), 1, len(known), 1, lambda value: f"{value:.0f}"),
        share_axis([points, low]),
        bands=[low + high[::-1]] if low else [],
    )


def trace_plot(traces: Sequence[Trace]) -> Plot | None:
    """Plot the agreement of each tuning's reward model with people during its updates, with the paper's Table 10."""
    if not traces:
        return None
    shown = traces[: len(CLASSES)]
    last = max(step for trace in shown for step, _ in trace.points)
    theirs = [point for point in paper.AGREEMENT_WHILE_TUNING if point[0] <= max(last, 500)]
    series = [
        Series(
            css,
            gettext("%(run)s (SIMULATED labels)") % {"run": trace.run} if trace.simulated else trace.run,
            trace.points,
            f"{trace.points[-1][1]:.1%}",
        )
        for css, trace in zip(CLASSES, shown, strict=False)
    ]
    listed = ", ".join(
        gettext("%(run)s %(first)s to %(last)s")
        % {"run": trace.run, "first": f"{trace.points[0][1]:.1%}", "last": f"{trace.points[-1][1]:.1%}"}
        for trace in shown
    )
    return plot(
        gettext("Agreement of the reward model during its updates"),
        gettext("By step of the tuning: %(figures)s; figures in the table") % {"figures": listed},
        [*series, Series("base", gettext("Table 10 of the paper (other data)"), theirs)],
        replace(value_axis([0, max(last, theirs[-1][0])]), title=gettext("step")),
        share_axis([*(trace.points for trace in shown), theirs]),
    )


def kappa_map(report: PeopleReport) -> HeatMap | None:
    """Show Cohen's kappa of each pair of annotators."""
    if not report.annotator_pairs:
        return None
    values = {
        (pair.one, pair.other): (
            "–" if pair.kappa.value is None else f"{pair.kappa.value:.2f}".replace("-", "−"),
            pair.kappa.value,
        )
        for pair in report.annotator_pairs
    }
    return heat_maps.symmetric(
        gettext("Cohen's kappa of each pair of annotators"), [row.name for row in report.annotators], values
    )


def rules_map(report: PeopleReport) -> HeatMap | None:
    """Show which rules two annotators named for the same choice."""
    found = report.rules_confused
    if not any(map(any, found.counts)):
        return None
    title = gettext("Rules that two annotators named for the same choice")
    return heat_maps.counted(
        title, gettext("one annotator, by the other"), [str(label) for label in found.labels], found.counts
    )


def strata_map(report: ScorersReport) -> HeatMap | None:
    """Show the agreement of every scorer with people in each stratum of the decided pairs."""
    rows = []
    for scorer in report.answering:
        cells = [
            heat_maps.Cell("–")
            if share is None
            else heat_maps.Cell(
                gettext("%(share)s of %(n)s") % {"share": percent(share.value), "n": share.count},
                heat_maps.shade(share.value, 0.3, 1),
                str(share),
            )
            for _, share in scorer.strata
        ]
        rows.append((scorer.title, cells))
    title = gettext("Agreement with people by kind of pair")
    return heat_maps.HeatMap(title, "", report.strata, rows) if rows else None
