"""Line charts: coordinates of an inline SVG, without scripts or inline styles.

Units are roughly a phone's pixels. Lines differ in dashes as well as in colour: see `.curve` in charts.css.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from annotate.charts.axes import Axis, Point

WIDTH, HEIGHT = 480, 260
LEFT, RIGHT, TOP, BOTTOM = 50, 28, 30, 42  # margins for labels; the left one grows with them
DIGIT_WIDTH = 10  # on a phone, where digits are largest: see charts.css


@dataclass(frozen=True)
class Mark:
    label: str
    x: float = 0
    y: float = 0


@dataclass(frozen=True)
class Series:
    """A named line. css: classes for its dashes and colour."""

    css: str
    name: str
    points: Sequence[Point]
    newest: str = ""  # the figure for the legend


@dataclass(frozen=True)
class PlottedLine:
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
    label: str  # text for screen readers
    x_title: str
    y_title: str
    lines: list[PlottedLine]
    grid: list[Mark]
    ticks: list[Mark]
    bands: list[str] = field(default_factory=list)
    dots: list[Dot] = field(default_factory=list)
    alarms: list[Mark] = field(default_factory=list)  # at their steps
    zero: Mark | None = None
    note: str = ""
    folded: bool = False  # collapsed until opened
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
    """Build a line chart. bands: filled outlines; dots: (x, y, radius)."""
    grid = [(y.text(value), value) for value in y.ticks()]
    left = max(LEFT, 8 + DIGIT_WIDTH * max((len(words) for words, _ in grid), default=0))

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
            PlottedLine(line.css, line.name, line.newest, points(line.points), Mark("", *at(line.points[-1])))
            for line in series
            if line.points
        ],
        grid=[Mark(words, y=at((0, value))[1]) for words, value in grid],
        ticks=[Mark(x.text(value), x=at((value, 0))[0]) for value in x.ticks()],
        bands=[points(band) for band in bands],
        dots=[Dot(*at((across, up)), round(radius, 1)) for across, up, radius in dots],
        left=left,
    )
