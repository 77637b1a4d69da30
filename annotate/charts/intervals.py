"""Interval plots: a row for each value, as coordinates of an inline SVG."""

from collections.abc import Sequence
from dataclasses import dataclass

from annotate.charts.axes import Axis
from annotate.charts.lines import WIDTH, Mark

EDGE, ROW = 26, 46  # margin on both sides; height of a row, with its text above the interval


@dataclass(frozen=True)
class Interval:
    """One row: dot, interval, and the text above them."""

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
    people: Mark | None  # a band: x, and its width as y
    height: int
    bottom: int
    title: str = ""
    zero: Mark | None = None
    width: int = WIDTH


def across(axis: Axis, value: float) -> float:
    """Place a value along the width of an interval plot."""
    return axis.place(value, EDGE, WIDTH - EDGE)


def plot_intervals(
    label: str,
    axis: Axis,
    rows: Sequence[tuple[str, str, str, float, float, float]],
    people: Mark | None = None,
) -> IntervalPlot:
    """Plot intervals on one axis. rows: title, figure, style, value, low, high."""
    return IntervalPlot(
        label=label,
        rows=[
            Interval(
                title=title,
                value=text,
                css=css,
                words=number * ROW + 18,
                y=number * ROW + 32,
                x=across(axis, value),
                low=across(axis, low),
                high=across(axis, high),
            )
            for number, (title, text, css, value, low, high) in enumerate(rows)
        ],
        ticks=[Mark(axis.text(value), x=across(axis, value)) for value in axis.ticks()],
        people=people,
        height=len(rows) * ROW + 28,
        bottom=len(rows) * ROW,
    )
