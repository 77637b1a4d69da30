"""Geometry of the plots on pages: numbers to points of an inline SVG, no script and no style needed.

The units are about a phone's pixels. Lines differ by their dashes as well as by colour: see `.curve` in style.css.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from annotate.models import Predictor
from annotate.selectors.comparisons import Cell, Comparison, Metric
from annotate.selectors.evaluations import Calibration, Evaluation
from annotate.selectors.restorer_charts import Chart, chart_groups
from annotate.selectors.restorer_runs import History as RestorerHistory
from annotate.selectors.runs import ORIGINS, STRATA, History, Point, means

WIDTH, HEIGHT = 480, 260
LEFT, RIGHT, TOP, BOTTOM = 50, 28, 30, 42  # what the labels take
LOW, HIGH = 0.3, 1.0
MOST_POINTS = 400
DASHED_POINTS = 60  # of lines that cross one another: with more of a step's noise their dashes cannot be told apart
WORD = 48  # the width of “alarm”: words do not stand on one another
SMALLEST = 1e-12  # beyond it all is zero to a plot
EDGE, ROW = 26, 46  # of the plot of intervals: beside the axis, and a method's words with its interval below


@dataclass(frozen=True)
class Mark:
    label: str
    x: float = 0
    y: float = 0


@dataclass(frozen=True)
class Axis:
    """Numbers along one side, from `low` to `high`, a tick each `step`; what is beyond is drawn at the edge."""

    title: str
    low: float
    high: float
    step: float
    text: Callable[[float], str]

    def place(self, value: float, start: float, end: float) -> float:
        inside = min(max(value, self.low), self.high)
        return round(start + (inside - self.low) / (self.high - self.low) * (end - start), 1)

    def ticks(self) -> list[float]:
        numbers = range(math.ceil(self.low / self.step - 1e-6), math.floor(self.high / self.step + 1e-6) + 1)
        return [number * self.step for number in numbers]


@dataclass(frozen=True)
class Decades(Axis):
    """An axis of logarithms; `low` and `high` are powers of ten, `step` is a number of decades."""

    def place(self, value: float, start: float, end: float) -> float:
        low, high = math.log10(self.low), math.log10(self.high)
        inside = math.log10(min(max(value, self.low), self.high))
        return round(start + (inside - low) / (high - low) * (end - start), 1)

    def ticks(self) -> list[float]:
        low, high = round(math.log10(self.low)), round(math.log10(self.high))
        return [10.0**power for power in range(low, high + 1, int(self.step))]


@dataclass(frozen=True)
class Series:
    """A named line; `css` are the classes that dash and colour it."""

    css: str
    name: str
    points: Sequence[Point]
    newest: str = ""  # the figure for the legend


@dataclass(frozen=True)
class Line:
    css: str
    name: str
    newest: str
    points: str
    end: Mark


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Plot:
    title: str
    label: str  # what is said to those who do not see it
    x_title: str
    y_title: str
    lines: list[Line]
    grid: list[Mark]
    ticks: list[Mark]
    bands: list[str] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    alarms: list[Mark] = field(default_factory=list)  # at their steps
    zero: Mark | None = None
    note: str = ""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    bottom: int = HEIGHT - BOTTOM


def plot(
    title: str,
    label: str,
    series: Iterable[Series],
    x: Axis,
    y: Axis,
    *,
    bands: Iterable[Sequence[Point]] = (),
    dots: Iterable[tuple[float, float, float]] = (),
) -> Plot:
    """Lines over one another; `bands` are filled outlines, `dots` are (x, y, radius)."""

    def at(point: Point) -> tuple[float, float]:
        return x.place(point[0], LEFT, WIDTH - RIGHT), y.place(point[1], HEIGHT - BOTTOM, TOP)

    def points(values: Iterable[Point]) -> str:
        return " ".join("{},{}".format(*at(value)) for value in values)

    return Plot(
        title=title,
        label=label,
        x_title=x.title,
        y_title=y.title,
        lines=[
            Line(line.css, line.name, line.newest, points(line.points), Mark("", *at(line.points[-1])))
            for line in series
            if line.points
        ],
        grid=[Mark(y.text(value), y=at((0, value))[1]) for value in y.ticks()],
        ticks=[Mark(x.text(value), x=at((value, 0))[0]) for value in x.ticks()],
        bands=[points(band) for band in bands],
        dots=[Dot(*at((across, up)), round(radius, 1)) for across, up, radius in dots],
    )


def accuracy_curve(limit: int = 500) -> Plot | None:
    """Cross-validated accuracy of the last versions against their number of labels; None below two versions."""
    newest = Predictor.objects.filter(status=Predictor.Status.READY).order_by("-pk")
    rows = sorted(newest.values_list("labels", "cv_accuracy", "cv_low", "cv_high", "baseline_accuracy")[:limit])
    if len(rows) < 2 or rows[0][0] == rows[-1][0]:
        return None

    def column(number: int) -> list[Point]:
        return [(row[0], row[number] or 0.0) for row in rows]

    return plot(
        "Accuracy by number of labels",
        "Cross-validated accuracy of each version against the number of labels; the figures are in the table of "
        "predictors in the admin",
        [
            Series("line", "accuracy, with its 95% interval", column(1), f"{rows[-1][1] or 0:.0%}"),
            Series("base", "a constant order of the restorers", column(4), f"{rows[-1][4] or 0:.0%}"),
        ],
        _count_axis("labels", rows[0][0], rows[-1][0]),
        Axis("", LOW, HIGH, 0.1, _percent),
        bands=[column(3) + column(2)[::-1]],
    )


def run_plots(history: History, total: int) -> list[Plot]:
    """Loss, pair accuracy by origin and gold agreement of a run, as far as there is anything of each."""
    last = max(history.last_step, total, 1)
    steps = _count_axis("step", 0, last)
    loss = _thin(history.loss, last)
    accuracy = {origin: _thin(points, last, DASHED_POINTS) for origin, points in history.accuracy.items() if points}
    gold = {
        stratum: [(row.step, share) for row in history.gold if (share := row.agreement[stratum]) is not None]
        for stratum in STRATA
    }
    plots = []
    if loss:
        newest = f"{history.loss[-1][1]:.3f}"
        line = Series("line", "loss", loss, newest)
        plots.append(plot("Loss", f"Loss by step, now {newest}", [line], steps, _loss_axis(loss)))
    if accuracy:
        lines = [
            Series(f"line {name}", ORIGINS[name], points, f"{points[-1][1]:.0%}") for name, points in accuracy.items()
        ]
        plots.append(
            plot(
                "Pair accuracy by origin", _spoken("Pair accuracy", lines), lines, steps, _share_axis(accuracy.values())
            )
        )
    if any(gold.values()):
        names = {"contested": "contested pairs", "anchored": "anchored pairs"}
        lines = [
            Series(f"line {stratum}", names[stratum], points, f"{points[-1][1]:.1%}")
            for stratum, points in gold.items()
            if points
        ]
        plots.append(
            plot(
                "Agreement with the gold labels",
                _spoken("Gold agreement", lines),
                lines,
                steps,
                _share_axis(gold.values()),
            )
        )
    return plots


def restorer_plots(history: RestorerHistory, total: int) -> list[tuple[str, list[Plot]]]:
    """The plots of a restorer's training, under headings, with a mark at each step that raised an alarm."""
    last = max(history.last_step, total, 1)
    steps = _count_axis("step", 0, last)
    alarms: list[Mark] = []
    for row in reversed(history.alarming):
        x = steps.place(row.step, LEFT, WIDTH - RIGHT)
        worded = [mark.x for mark in alarms if mark.label]
        alarms.append(Mark("" if worded and x - worded[-1] < WORD else "alarm", x=x))
    groups = chart_groups(history)
    return [(heading, [_chart_plot(chart, steps, last, alarms) for chart in charts]) for heading, charts in groups]


def _chart_plot(chart: Chart, steps: Axis, last: int, alarms: list[Mark]) -> Plot:
    limit = MOST_POINTS if len(chart.lines) == 1 else DASHED_POINTS
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
        axis = _share_axis(line.points for line in lines)
    elif chart.decades:
        axis = _decades_axis(values)
    else:
        axis = _value_axis([*values, 0.0] if chart.zero else values)
    bands = [below + above[::-1]] if below else []
    made = plot(chart.title, _spoken(chart.title, lines), lines, steps, axis, bands=bands)
    zero = Mark("", y=axis.place(0, HEIGHT - BOTTOM, TOP)) if chart.zero else None
    return replace(made, alarms=alarms, note=chart.note, zero=zero)


def _spoken(what: str, lines: list[Series]) -> str:
    return f"{what} by step, now " + ", ".join(f"{line.name} {line.newest}" for line in lines)


def _thin(points: Sequence[Point], last: int, limit: int = MOST_POINTS) -> list[Point]:
    return [point for _, point in sorted(means(points, last, limit).items())]


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
    axis = _share_axis([[(0, share.low), (0, share.high)] for share in shares])
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


def difference_plots(comparison: Comparison) -> list[IntervalPlot]:
    """A plot a metric: each restorer's difference against the base, on the same faces."""
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
        rows.append((title, f"{cell.change} {cell.verdict}".strip(), cell.verdict, middle, low, high))
    axis = _value_axis([value for row in rows for value in (*row[3:], 0.0)])
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


def reliability(calibration: Calibration) -> Plot | None:
    """How often it is right when it is so sure: on the diagonal if the probabilities can be believed."""
    bins = sorted(calibration.bins, key=lambda found: found.predicted)
    if not bins:
        return None
    largest = max(found.pairs for found in bins) or 1
    points = [(found.predicted, found.observed) for found in bins]
    shares = _share_axis([points, [(observed, predicted) for predicted, observed in points]])
    return plot(
        "Calibration",
        "Predicted probability against observed share; the table below has the figures",
        [
            Series("base", "perfectly calibrated", [(shares.low, shares.low), (shares.high, shares.high)]),
            Series("line", "observed; larger dots are more pairs", points),
        ],
        replace(shares, title="predicted"),
        replace(shares, title="observed"),
        dots=[(found.predicted, found.observed, 2.5 + 5 * math.sqrt(found.pairs / largest)) for found in bins],
    )


def _count_axis(title: str, low: int, high: int) -> Axis:
    return Axis(title, low, high, max(_round_step(high - low), 1), lambda value: f"{value:,.0f}")


def _loss_axis(points: Sequence[Point]) -> Axis:
    return _value_axis([value for _, value in points], 0.01)


def _value_axis(values: Sequence[float], least: float = 0) -> Axis:
    """Around the values; at least so wide, or a hundredth of the greatest."""
    least = least or max(map(abs, values)) / 100
    step = _round_step(max(max(values) - min(values), least if least > SMALLEST else 0.01))
    low, high = math.floor(min(values) / step) * step, math.ceil(max(values) / step + 1e-6) * step
    return Axis("", low, high, step, lambda value: f"{value:.4g}")


def _decades_axis(values: Sequence[float]) -> Axis:
    """Logarithmic where positive values span more than a decade; what is zero lies on the lower edge."""
    positive = [max(value, SMALLEST) for value in values if value > 0]
    if not positive or max(positive) < 10 * min(positive):
        return _value_axis(values)
    low, high = math.floor(math.log10(min(positive))), math.ceil(math.log10(max(positive)))
    return Decades("", 10.0**low, 10.0**high, -(-(high - low) // 6), lambda value: f"{value:g}")


def _share_axis(lines: Iterable[Sequence[Point]]) -> Axis:
    """From chance, or the tenth below the lowest share, to all."""
    lowest = min([0.5, *(value for points in lines for _, value in points)])
    return Axis("", math.floor(lowest * 10 + 1e-6) / 10, 1.0, 0.1, _percent)


def _round_step(span: float, most: int = 5) -> float:
    """A step of 1, 2 or 5 times a power of ten that divides the span into at most `most` parts."""
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power * most >= span * (1 - 1e-9))


def _percent(value: float) -> str:
    return f"{value:.0%}"
