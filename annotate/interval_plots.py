"""Plots of values with their intervals, a row each: numbers to places of an inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from annotate.axes import Axis, share_axis, value_axis
from annotate.curves import WIDTH, Mark
from annotate.models.campaigns import Question
from annotate.selectors.comparisons import Cell, Comparison, Metric
from annotate.selectors.evaluations import Evaluation
from annotate.selectors.studies import Row

if TYPE_CHECKING:
    from annotate.selectors.leaderboard import Standing

EDGE, ROW = 26, 46  # beside the axis, and a row: its words with its interval below


@dataclass(frozen=True)
class Interval:
    """A method's dot and its interval, with the words above them."""

    title: str
    value: str
    css: str
    words: float
    y: float
    x: float
    low: float
    high: float


@dataclass(frozen=True)
class IntervalPlot:
    label: str
    rows: list[Interval]
    ticks: list[Mark]
    people: Mark | None  # x and, as y, the width of the band
    height: int
    bottom: int
    title: str = ""
    zero: Mark | None = None
    width: int = WIDTH


def interval_plot(evaluation: Evaluation) -> IntervalPlot | None:
    """Agreement on contested pairs, a row a method, on the band of how far people agree with one another."""
    found = [(row, row.share) for row in evaluation.rows if row.stratum == "contested" and row.share]
    if not found:
        return None
    people = evaluation.two_agree
    shares = [share for _, share in found] + ([people] if people else [])
    axis = share_axis([[(0, share.low), (0, share.high)] for share in shares])
    band = None
    if people:
        low, high = _across(axis, people.low), _across(axis, people.high)
        band = Mark(str(people), low, round(high - low, 1))
    return _intervals(
        "Agreement with the gold labels on contested pairs, by method, with 95% intervals; the table below has "
        "the figures",
        axis,
        [(row.title, f"{share.value:.1%}", row.group, share.value, share.low, share.high) for row, share in found],
        people=band,
    )


def preference_plot(question: Question, rows: Sequence[Row]) -> IntervalPlot:
    """A study's preference ratios on one question, a row a couple, against the half that says neither is better."""
    drawn = []
    for row in rows:
        ratio = row.found.ratio or 0.0
        low, high = row.found.interval or (ratio, ratio)
        verdict = "better" if low > 0.5 else "worse" if high < 0.5 else ""
        drawn.append((f"{row.one} over {row.other}", f"{ratio:.0%}", verdict, ratio, low, high))
    axis = Axis("", 0, 1, 0.25, lambda value: f"{value:.0%}")
    spoken = ", ".join(f"{title} {value}" for title, value, *_ in drawn)
    made = _intervals(f"{question.label} Preference ratios with 95% intervals: {spoken}", axis, drawn)
    return replace(made, zero=Mark("as often as not", x=_across(axis, 0.5)))


def difference_plots(comparison: Comparison) -> list[IntervalPlot]:
    """A plot a metric: each restorer's difference against the base, on the same faces."""
    plots = []
    for number, metric in enumerate(comparison.metrics):
        cells = [(row.title, row.cells[number]) for row in comparison.rows if not row.is_base]
        found = [(title, cell) for title, cell in cells if cell and cell.difference is not None]
        if found:
            plots.append(_difference_plot(metric, comparison.base_title, found))
    return plots


def strength_plot(standings: "Sequence[Standing]") -> IntervalPlot:
    """Strengths of restorers, the strongest first, with their intervals over faces, against the average restorer."""
    drawn = []
    for row in standings:
        low, high = row.by_face.strength or (row.strength, row.strength)
        verdict = "better" if low > 0 else "worse" if high < 0 else ""
        drawn.append((f"{row.rank}. {row.title}", _signed(row.strength), verdict, row.strength, low, high))
    axis = value_axis([value for row in drawn for value in (*row[3:], 0.0)], 0.1)
    signed = replace(axis, text=lambda value: _signed(value, "+.4g") if value else "0")
    spoken = ", ".join(f"{title} {value}" for title, value, *_ in drawn)
    made = _intervals(f"Strengths in log-odds against the average restorer: {spoken}", signed, drawn)
    return replace(made, zero=Mark("average restorer", x=_across(axis, 0)))


def _signed(value: float, form: str = "+.2f") -> str:
    return f"{value:{form}}".replace("-", "−")


def _difference_plot(metric: Metric, base: str, found: list[tuple[str, Cell]]) -> IntervalPlot:
    rows = []
    for title, cell in found:
        middle = cell.difference or 0.0
        low = middle if cell.difference_low is None else cell.difference_low
        high = middle if cell.difference_high is None else cell.difference_high
        rows.append((title, f"{cell.change} {cell.verdict}".strip(), cell.verdict, middle, low, high))
    axis = value_axis([value for row in rows for value in (*row[3:], 0.0)])
    signed = replace(axis, text=lambda value: f"{value:+.4g}".replace("-", "−") if value else "0")
    spoken = ", ".join(f"{title} {value}" for title, value, *_ in rows)
    better = f"; {metric.better}" if metric.better else ""
    made = _intervals(f"{metric.title}, difference against {base}: {spoken}", signed, rows)
    return replace(made, title=f"{metric.title}{better}", zero=Mark(base, x=_across(axis, 0)))


def _across(axis: Axis, value: float) -> float:
    return axis.place(value, EDGE, WIDTH - EDGE)


def _intervals(
    label: str,
    axis: Axis,
    rows: Sequence[tuple[str, str, str, float, float, float]],
    people: Mark | None = None,
) -> IntervalPlot:
    """Rows of title, figure, style, value, low, high."""
    return IntervalPlot(
        label=label,
        rows=[
            Interval(
                title=title,
                value=text,
                css=css,
                words=number * ROW + 18,
                y=number * ROW + 32,
                x=_across(axis, value),
                low=_across(axis, low),
                high=_across(axis, high),
            )
            for number, (title, text, css, value, low, high) in enumerate(rows)
        ],
        ticks=[Mark(axis.text(value), x=_across(axis, value)) for value in axis.ticks()],
        people=people,
        height=len(rows) * ROW + 28,
        bottom=len(rows) * ROW,
    )
