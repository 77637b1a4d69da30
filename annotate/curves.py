"""Geometry of the plots on pages: numbers to points of an inline SVG, no script and no style needed.

The units are about a phone's pixels. Lines differ by their dashes as well as by colour: see `.curve` in style.css.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from annotate.axes import Axis, count_axis, decades_axis, loss_axis, percent, share_axis, value_axis
from annotate.models import Predictor
from annotate.selectors.evaluations import Calibration
from annotate.selectors.restorer_charts import Chart, chart_groups
from annotate.selectors.restorer_runs import History as RestorerHistory
from annotate.selectors.runs import ORIGINS, STRATA, History, Point, means

WIDTH, HEIGHT = 480, 260
LEFT, RIGHT, TOP, BOTTOM = 50, 28, 30, 42  # what the labels take; the left side gives longer ones more
LETTER = 10  # the width of a digit as large as on a phone: see style.css
LOW, HIGH = 0.3, 1.0
MOST_POINTS = 400
DASHED_POINTS = 60  # of lines that cross one another: with more of a step's noise their dashes cannot be told apart
UNITS = (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1))
WORD = 48  # the width of “alarm”: words do not stand on one another


@dataclass(frozen=True)
class Mark:
    label: str
    x: float = 0
    y: float = 0


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
    folded: bool = False  # shown only when it is asked for
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
    grid = [(y.text(value), value) for value in y.ticks()]
    left = max(LEFT, 8 + LETTER * max((len(words) for words, _ in grid), default=0))

    def at(point: Point) -> tuple[float, float]:
        return x.place(point[0], left, WIDTH - RIGHT), y.place(point[1], HEIGHT - BOTTOM, TOP)

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
        grid=[Mark(words, y=at((0, value))[1]) for words, value in grid],
        ticks=[Mark(x.text(value), x=at((value, 0))[0]) for value in x.ticks()],
        bands=[points(band) for band in bands],
        dots=[Dot(*at((across, up)), round(radius, 1)) for across, up, radius in dots],
        left=left,
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
        count_axis("labels", rows[0][0], rows[-1][0]),
        Axis("", LOW, HIGH, 0.1, percent),
        bands=[column(3) + column(2)[::-1]],
    )


def answers_plot(times: Sequence[datetime], wanted: int) -> Plot | None:
    """Answers by time since the first, up to as many as are wanted; None below two."""
    if len(times) < 2 or times[0] == times[-1]:
        return None
    span = (times[-1] - times[0]).total_seconds()
    unit, seconds = next((unit for unit in UNITS if span >= 2 * unit[1]), UNITS[-1])
    chosen = sorted({round(k * (len(times) - 1) / MOST_POINTS) for k in range(MOST_POINTS + 1)})
    given = [((times[k] - times[0]).total_seconds() / seconds, float(k + 1)) for k in chosen]
    end = given[-1][0]
    return plot(
        "Answers",
        f"Answers by {unit} since the first: {len(times):,} of {wanted:,}",
        [
            Series("line", "answers", given, f"{len(times):,}"),
            Series("base", f"wanted: {wanted:,}", [(0, wanted), (end, wanted)]),
        ],
        replace(value_axis([0, end]), title=unit),
        count_axis("", 0, max(wanted, len(times))),
    )


def run_plots(history: History, total: int) -> list[Plot]:
    """Loss, pair accuracy by origin and gold agreement of a run, as far as there is anything of each."""
    last = max(history.last_step, total, 1)
    steps = count_axis("step", 0, last)
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
        plots.append(plot("Loss", f"Loss by step, now {newest}", [line], steps, loss_axis(loss)))
    if accuracy:
        lines = [
            Series(f"line {name}", ORIGINS[name], points, f"{points[-1][1]:.0%}") for name, points in accuracy.items()
        ]
        plots.append(
            plot(
                "Pair accuracy by origin", _spoken("Pair accuracy", lines), lines, steps, share_axis(accuracy.values())
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
                share_axis(gold.values()),
            )
        )
    return plots


def restorer_plots(history: RestorerHistory, total: int) -> list[tuple[str, list[Plot]]]:
    """The plots of a restorer's training, under headings, with a mark at each step that raised an alarm."""
    last = max(history.last_step, total, 1)
    steps, alarming = count_axis("step", 0, last), [row.step for row in reversed(history.alarming)]
    groups = chart_groups(history)
    return [(heading, [_chart_plot(chart, steps, last, alarming) for chart in charts]) for heading, charts in groups]


def _chart_plot(chart: Chart, steps: Axis, last: int, alarming: list[int]) -> Plot:
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
        axis = share_axis(line.points for line in lines)
    elif chart.decades:
        axis = decades_axis(values)
    else:
        axis = value_axis([*values, 0.0] if chart.zero else values)
    bands = [below + above[::-1]] if below else []
    made = plot(chart.title, _spoken(chart.title, lines), lines, steps, axis, bands=bands)
    zero = Mark("", y=axis.place(0, HEIGHT - BOTTOM, TOP)) if chart.zero else None
    return replace(made, alarms=_alarm_marks(made, steps, alarming), note=chart.note, zero=zero, folded=chart.folded)


def _alarm_marks(made: Plot, steps: Axis, alarming: list[int]) -> list[Mark]:
    marks: list[Mark] = []
    for step in alarming:
        x = steps.place(step, made.left, made.right)
        worded = [mark.x for mark in marks if mark.label]
        marks.append(Mark("" if worded and x - worded[-1] < WORD else "alarm", x=x))
    return marks


def _spoken(what: str, lines: list[Series]) -> str:
    return f"{what} by step, now " + ", ".join(f"{line.name} {line.newest}" for line in lines)


def _thin(points: Sequence[Point], last: int, limit: int = MOST_POINTS) -> list[Point]:
    return [point for _, point in sorted(means(points, last, limit).items())]


def reliability(calibration: Calibration) -> Plot | None:
    """How often it is right when it is so sure: on the diagonal if the probabilities can be believed."""
    bins = sorted(calibration.bins, key=lambda found: found.predicted)
    if not bins:
        return None
    largest = max(found.pairs for found in bins) or 1
    points = [(found.predicted, found.observed) for found in bins]
    shares = share_axis([points, [(observed, predicted) for predicted, observed in points]])
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
