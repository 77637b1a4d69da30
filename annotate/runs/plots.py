"""Plots of runs: training curves, calibration, and differences between restorers."""

import math
from collections.abc import Sequence
from dataclasses import replace

from django.utils.translation import gettext

from annotate.charts.axes import Axis, Point, count_axis, decades_axis, loss_axis, share_axis, value_axis
from annotate.charts.intervals import IntervalPlot, across, plot_intervals
from annotate.charts.lines import BOTTOM, HEIGHT, TOP, Mark, Plot, Series, plot
from annotate.runs.frm_evaluation import CalibrationCurve, FrmEvaluation
from annotate.runs.restorer_charts import Chart, chart_groups
from annotate.runs.restorer_comparison import Cell, Metric, RestorerComparison
from annotate.runs.restorer_history import RestorerHistory
from annotate.runs.run_folders import STRATA, FrmHistory, means, origin_title, pairs_title

MAX_POINTS = 400
DASHED_POINTS = 60  # for lines that cross: with more points, noise makes the dash patterns indistinguishable
LABEL_WIDTH = 48  # of “alarm”: labels must not overlap


def run_plots(history: FrmHistory, total: int) -> list[Plot]:
    """Plot loss, pair accuracy by origin and gold agreement of a run, where it has values."""
    last = max(history.last_step, total, 1)
    steps = count_axis(gettext("step"), 0, last)
    loss = _thin(history.loss, last)
    accuracy = {origin: _thin(points, last, DASHED_POINTS) for origin, points in history.accuracy.items() if points}
    gold = {
        stratum: [(row.step, share) for row in history.gold if (share := row.agreement[stratum]) is not None]
        for stratum in STRATA
    }
    plots = []
    if loss:
        newest = f"{history.loss[-1][1]:.3f}"
        line = Series("line", gettext("loss"), loss, newest)
        label = gettext("Loss by step, now %(newest)s") % {"newest": newest}
        plots.append(plot(gettext("Loss"), label, [line], steps, loss_axis(loss)))
    if accuracy:
        lines = [
            Series(f"line {name}", origin_title(name), points, f"{points[-1][1]:.0%}")
            for name, points in accuracy.items()
        ]
        plots.append(
            plot(
                gettext("Pair accuracy by origin"),
                _aria_label(gettext("Pair accuracy"), lines),
                lines,
                steps,
                share_axis(accuracy.values()),
            )
        )
    if any(gold.values()):
        lines = [
            Series(f"line {stratum}", pairs_title(stratum), points, f"{points[-1][1]:.1%}")
            for stratum, points in gold.items()
            if points
        ]
        plots.append(
            plot(
                gettext("Agreement with the gold labels"),
                _aria_label(gettext("Gold agreement"), lines),
                lines,
                steps,
                share_axis(gold.values()),
            )
        )
    return plots


def restorer_plots(history: RestorerHistory, total: int) -> list[tuple[str, list[Plot]]]:
    """Plot a restorer's training, grouped by heading, with a mark at each step that raised an alarm."""
    last = max(history.last_step, total, 1)
    steps, alarming = count_axis(gettext("step"), 0, last), [row.step for row in reversed(history.alarming)]
    groups = chart_groups(history)
    return [(heading, [_chart_plot(chart, steps, last, alarming) for chart in charts]) for heading, charts in groups]


def _chart_plot(chart: Chart, steps: Axis, last: int, alarming: list[int]) -> Plot:
    limit = MAX_POINTS if len(chart.lines) == 1 else DASHED_POINTS
    lines = [
        Series(
            f"line {line.css}".strip(),
            line.name,
            _thin(line.points, last, limit) if chart.noisy else line.points,
            line.newest,
        )
        for line in chart.lines
    ]
    below, above = chart.band
    values = [value for points in (*(line.points for line in lines), below, above) for _, value in points]
    if chart.shares:
        axis = share_axis(line.points for line in lines)
    elif chart.decades:
        axis = decades_axis(values)
    else:
        axis = value_axis([*values, 0.0] if chart.zero else values)
    bands = [below + above[::-1]] if below else []
    made = plot(chart.title, _aria_label(chart.title, lines), lines, steps, axis, bands=bands)
    zero = Mark("", y=axis.place(0, HEIGHT - BOTTOM, TOP)) if chart.zero else None
    return replace(made, alarms=_alarm_marks(made, steps, alarming), note=chart.note, zero=zero, folded=chart.folded)


def _alarm_marks(made: Plot, steps: Axis, alarming: list[int]) -> list[Mark]:
    marks: list[Mark] = []
    for step in alarming:
        x = steps.place(step, made.left, made.right)
        labelled = [mark.x for mark in marks if mark.label]
        marks.append(Mark("" if labelled and x - labelled[-1] < LABEL_WIDTH else gettext("alarm"), x=x))
    return marks


def _aria_label(what: str, lines: list[Series]) -> str:
    newest = ", ".join(f"{line.name} {line.newest}" for line in lines)
    return gettext("%(what)s by step, now %(newest)s") % {"what": what, "newest": newest}


def _thin(points: Sequence[Point], last: int, limit: int = MAX_POINTS) -> list[Point]:
    return [point for _, point in sorted(means(points, last, limit).items())]


def reliability(calibration: CalibrationCurve) -> Plot | None:
    """Plot observed against predicted probability. Calibrated probabilities lie on the diagonal."""
    bins = sorted(calibration.bins, key=lambda found: found.predicted)
    if not bins:
        return None
    largest = max(found.pairs for found in bins) or 1
    points = [(found.predicted, found.observed) for found in bins]
    shares = share_axis([points, [(observed, predicted) for predicted, observed in points]])
    return plot(
        gettext("Calibration"),
        gettext("Predicted probability against observed share; figures in the table below"),
        [
            Series("base", gettext("perfectly calibrated"), [(shares.low, shares.low), (shares.high, shares.high)]),
            Series("line", gettext("observed; a larger dot means more pairs"), points),
        ],
        replace(shares, title=gettext("predicted")),
        replace(shares, title=gettext("observed")),
        dots=[(found.predicted, found.observed, 2.5 + 5 * math.sqrt(found.pairs / largest)) for found in bins],
    )


def interval_plot(evaluation: FrmEvaluation) -> IntervalPlot | None:
    """Plot agreement on contested pairs, one row per method, with agreement between people as a band."""
    found = [(row, row.share) for row in evaluation.rows if row.stratum == "contested" and row.share]
    if not found:
        return None
    people = evaluation.two_agree
    shares = [share for _, share in found] + ([people] if people else [])
    axis = share_axis([[(0, end) for end in share.ends] for share in shares])
    band = None
    if people:
        low, high = (across(axis, end) for end in people.ends)
        band = Mark(str(people), low, round(high - low, 1))
    return plot_intervals(
        gettext(
            "Agreement with the gold labels on contested pairs by method, with 95% intervals; figures in the table "
            "below"
        ),
        axis,
        [(row.title, f"{share.value:.1%}", row.group, share.value, *share.ends) for row, share in found],
        people=band,
    )


def difference_plots(comparison: RestorerComparison) -> list[IntervalPlot]:
    """Plot each restorer's difference against the base on the same faces, one plot per metric."""
    plots = []
    for number, metric in enumerate(comparison.metrics):
        cells = [(row.title, row.cells[number]) for row in comparison.rows if not row.is_base]
        found = [(title, cell) for title, cell in cells if cell and cell.difference is not None]
        if found:
            plots.append(_difference_plot(metric, comparison.base_title, found))
    return plots


def _difference_plot(metric: Metric, base: str, found: list[tuple[str, Cell]]) -> IntervalPlot:
    rows = []
    for title, cell in found:
        middle = cell.difference or 0.0
        low = middle if cell.difference_low is None else cell.difference_low
        high = middle if cell.difference_high is None else cell.difference_high
        rows.append((title, f"{cell.change} {cell.verdict_title}".strip(), cell.verdict, middle, low, high))
    axis = value_axis([value for row in rows for value in (*row[3:], 0.0)])
    signed = replace(axis, text=lambda value: f"{value:+.4g}".replace("-", "−") if value else "0")
    listed = ", ".join(f"{title} {value}" for title, value, *_ in rows)
    better = f"; {metric.better}" if metric.better else ""
    label = gettext("%(metric)s, difference against %(base)s: %(figures)s")
    made = plot_intervals(label % {"metric": metric.title, "base": base, "figures": listed}, signed, rows)
    return replace(made, title=f"{metric.title}{better}", zero=Mark(base, x=across(axis, 0)))
