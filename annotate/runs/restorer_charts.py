"""Curves of a restorer's training: lines to plot, and the same values as tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle

from annotate.charts.axes import Point
from annotate.runs.restorer_history import MEASURES, TERMS, HeldOutEvaluation, RestorerHistory, figure
from annotate.runs.run_folders import STRATA, means, range_length

STYLES = ("", "second", "third", "fourth")  # dashes and colours, in style.css
MAX_ROWS = 20  # in a table of means
STRATUM_TITLES = {"contested": "contested pairs", "anchored": "anchored pairs"}


@dataclass(frozen=True)
class ChartLine:
    name: str
    points: Sequence[Point]
    newest: str
    css: str = ""


@dataclass(frozen=True)
class Chart:
    """A chart. noisy: one point per step; shares: values in [0, 1]; band: lower and upper ends of an interval."""

    title: str
    lines: list[ChartLine]
    note: str = ""
    noisy: bool = False
    shares: bool = False
    decades: bool = False  # logarithmic axis if the values span decades
    zero: bool = False
    folded: bool = False
    band: tuple[list[Point], list[Point]] = field(default_factory=lambda: ([], []))


@dataclass(frozen=True)
class Table:
    title: str
    head: list[str]
    rows: list[list[str]]


def chart_groups(history: RestorerHistory) -> list[tuple[str, list[Chart]]]:
    """Group charts by heading; empty groups are left out."""
    groups = [
        ("On the held-out faces", list(_held_out(history))),
        ("In training", list(_training(history))),
        ("Updates of the reward model", list(_reward_model(history))),
    ]
    return [(heading, charts) for heading, charts in groups if charts]


def _held_out(history: RestorerHistory) -> Iterator[Chart]:
    rows = history.by_step
    if any("reward" in row.values or "judge" in row.values for row in rows):
        yield _hacking(rows)
    for name in ("sface", "lpips", "niqe", "psnr"):
        measure = MEASURES[name]
        points = [(row.step, row.values[name]) for row in rows if name in row.values]
        if points:
            title = f"{measure.title}, {measure.unit}" if measure.unit else measure.title
            newest = figure(points[-1][1])
            yield Chart(title, [ChartLine(measure.title, points, newest)], f"Held-out faces; {measure.better}.")


def _hacking(rows: list[HeldOutEvaluation]) -> Chart:
    """Chart the reward against the judge: a rising reward with a falling judge indicates reward hacking."""
    names = {"judge": "judge, not trained on", "reward": "reward, trained on"}
    changes = {name: list(_changes(rows, name)) for name in names}
    judge_changes = [(row.step, row.changes["judge"]) for row in rows if "judge" in row.changes]
    return Chart(
        "Reward against the judge, change since the start" if changes["judge"] else "Reward, change since the start",
        [
            ChartLine(names[name], points, figure(points[-1][1], digits=3, signed=True), css)
            for name, css in (("reward", ""), ("judge", "second"))
            if (points := changes[name])
        ],
        "Held-out faces. If the reward rises while the judge falls, the restorer exploits the reward model (reward "
        "hacking)." + (" The band is the judge's 95% interval." if judge_changes else ""),
        zero=True,
        band=(
            [(step, change.low) for step, change in judge_changes],
            [(step, change.high) for step, change in judge_changes],
        ),
    )


def _changes(rows: list[HeldOutEvaluation], name: str) -> Iterator[Point]:
    """Yield the recorded changes, or differences to the first evaluation if none are recorded."""
    first = next((row.values[name] for row in rows if name in row.values), None)
    for row in rows:
        if name in row.changes:
            yield row.step, row.changes[name].mean
        elif name in row.values and first is not None:
            yield row.step, row.values[name] - first


def _training(history: RestorerHistory) -> Iterator[Chart]:
    if history.reward:
        yield _noisy("Reward", "mean of the batch", history.reward, "Training faces; higher is better.")
    if history.loss:
        several = "Sum of the weighted terms." if history.values else ""
        yield _noisy("Loss" if not several else "Loss, total", "loss", history.loss, several)
    if history.gradients:
        lines = [
            ChartLine(TERMS.get(term, term), points, figure(points[-1][1]), css)
            for css, (term, points) in zip(cycle(STYLES), history.gradients.items(), strict=False)
        ]
        note = "Of each weighted term: its influence on the restorer."
        yield Chart("Norms of the gradients", lines, note, noisy=True, decades=True)
    for term, points in history.values.items():
        chart = _noisy(f"Loss term: {TERMS.get(term, term)}", "value", points, "Before weighting.")
        yield replace(chart, folded=True)


def _reward_model(history: RestorerHistory) -> Iterator[Chart]:
    gold = {
        stratum: [(row.step, share) for row in history.gold if (share := row.agreement[stratum]) is not None]
        for stratum in STRATA
    }
    lines = [
        ChartLine(STRATUM_TITLES[stratum], points, f"{points[-1][1]:.1%}", stratum)
        for stratum, points in gold.items()
        if points
    ]
    if lines:
        yield Chart("Agreement with the gold labels", lines, "As in Table 10 of the paper.", shares=True)
    if history.frm_loss:
        yield _noisy("Loss of the update", "loss", history.frm_loss, "Original against restored (Eq. 7 and 8).")


def _noisy(title: str, name: str, points: Sequence[Point], note: str) -> Chart:
    return Chart(title, [ChartLine(name, points, figure(points[-1][1]))], note, noisy=True)


def tables(history: RestorerHistory) -> list[Table]:
    """Tabulate the values of the curves; values of single steps are averaged over ranges of steps."""
    return [table for table in (_step_means(history), _evaluations(history), _gold(history)) if table.rows]


def _step_means(history: RestorerHistory) -> Table:
    columns = {"Loss": history.loss, "Reward": history.reward, "Loss of the reward model": history.frm_loss}
    columns |= {f"{TERMS.get(term, term)}, value": points for term, points in history.values.items()}
    columns |= {f"{TERMS.get(term, term)}, gradient": points for term, points in history.gradients.items()}
    columns = {name: points for name, points in columns.items() if points}
    ends = [points[-1][0] for points in columns.values()]
    last = int(max(ends, default=0))
    length = range_length(last, MAX_ROWS)
    found = {name: means(points, last, MAX_ROWS) for name, points in columns.items()}
    return Table(
        "Means over steps",
        ["Steps", *columns],
        [
            [
                f"{number * length + 1:,} to {min((number + 1) * length, last):,}",
                *(figure(points[number][1]) if number in points else "–" for points in found.values()),
            ]
            for number in sorted({number for points in found.values() for number in points})
        ],
    )


def _evaluations(history: RestorerHistory) -> Table:
    rows = history.evaluations
    measures = [measure for name, measure in MEASURES.items() if any(name in row.values for row in rows)]
    several = len({row.strength for row in rows}) > 1
    return Table(
        "Held-out faces",
        ["Step", *(["Strength"] if several else []), *(measure.title for measure in measures), "Alarms"],
        [
            [
                f"{row.step:,}",
                *([figure(row.strength)] if several else []),
                *(figure(row.values.get(measure.name)) for measure in measures),
                " ".join(row.alarms) or "none",
            ]
            for row in rows
        ],
    )


def _gold(history: RestorerHistory) -> Table:
    return Table(
        "Agreement of the reward model with the gold labels",
        ["Step", "Contested", "Pairs", "Anchored", "Pairs"],
        [
            [f"{row.step:,}", *(cell for stratum in STRATA for cell in _share(row.agreement, row.pairs, stratum))]
            for row in history.gold
        ],
    )


def _share(agreement: dict[str, float | None], pairs: dict[str, int], stratum: str) -> tuple[str, str]:
    share = agreement[stratum]
    return "–" if share is None else f"{share:.1%}", f"{pairs[stratum]:,}"
