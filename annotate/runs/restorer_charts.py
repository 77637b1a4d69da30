"""Curves of a restorer's training: lines to plot, and the same values as tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle

from django.utils.translation import gettext, pgettext

from annotate.charts.axes import Point
from annotate.runs.restorer_history import MEASURES, HeldOutEvaluation, RestorerHistory, figure, term_title
from annotate.runs.run_folders import STRATA, means, pairs_title, range_length

STYLES = ("", "second", "third", "fourth")  # dashes and colours, in charts.css
MAX_ROWS = 20  # in a table of means


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
        (gettext("On the held-out faces"), list(_held_out(history))),
        (gettext("In training"), list(_training(history))),
        (gettext("Updates of the reward model"), list(_reward_model(history))),
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
            note = gettext("Held-out faces; %(better)s.") % {"better": measure.better}
            yield Chart(title, [ChartLine(measure.title, points, newest)], note)


def _hacking(rows: list[HeldOutEvaluation]) -> Chart:
    """Chart the reward against the judge: a rising reward with a falling judge indicates reward hacking."""
    names = {"judge": gettext("judge, not trained on"), "reward": gettext("reward, trained on")}
    changes = {name: list(_changes(rows, name)) for name in names}
    judge_changes = [(row.step, row.changes["judge"]) for row in rows if "judge" in row.changes]
    notes = [
        gettext(
            "Held-out faces. If the reward rises while the judge falls, the restorer exploits the reward model (reward "
            "hacking)."
        )
    ]
    if judge_changes:
        notes.append(gettext("The band is the judge's 95% interval."))
    return Chart(
        gettext("Reward against the judge, change since the start")
        if changes["judge"]
        else gettext("Reward, change since the start"),
        [
            ChartLine(names[name], points, figure(points[-1][1], digits=3, signed=True), css)
            for name, css in (("reward", ""), ("judge", "second"))
            if (points := changes[name])
        ],
        " ".join(notes),
        zero=True,
        band=(
            [(step, change.low) for step, change in judge_changes if change.low is not None],
            [(step, change.high) for step, change in judge_changes if change.high is not None],
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
        yield _noisy(
            gettext("Reward"),
            gettext("mean of the batch"),
            history.reward,
            gettext("Training faces; higher is better."),
        )
    if history.loss:
        several = gettext("Sum of the weighted terms.") if history.values else ""
        title = gettext("Loss, total") if several else gettext("Loss")
        yield _noisy(title, gettext("loss"), history.loss, several)
    if history.gradients:
        lines = [
            ChartLine(term_title(term), points, figure(points[-1][1]), css)
            for css, (term, points) in zip(cycle(STYLES), history.gradients.items(), strict=False)
        ]
        note = gettext("Of each weighted term: its influence on the restorer.")
        yield Chart(gettext("Norms of the gradients"), lines, note, noisy=True, decades=True)
    for term, points in history.values.items():
        title = gettext("Loss term: %(term)s") % {"term": term_title(term)}
        chart = _noisy(title, gettext("value"), points, gettext("Before weighting."))
        yield replace(chart, folded=True)


def _reward_model(history: RestorerHistory) -> Iterator[Chart]:
    gold = {
        stratum: [(row.step, share) for row in history.gold if (share := row.agreement[stratum]) is not None]
        for stratum in STRATA
    }
    lines = [
        ChartLine(pairs_title(stratum), points, f"{points[-1][1]:.1%}", stratum)
        for stratum, points in gold.items()
        if points
    ]
    if lines:
        title, note = gettext("Agreement with the gold labels"), gettext("As in Table 10 of the paper.")
        yield Chart(title, lines, note, shares=True)
    if history.frm_loss:
        note = gettext("Original against restored (Eq. 7 and 8).")
        yield _noisy(gettext("Loss of the update"), gettext("loss"), history.frm_loss, note)


def _noisy(title: str, name: str, points: Sequence[Point], note: str) -> Chart:
    return Chart(title, [ChartLine(name, points, figure(points[-1][1]))], note, noisy=True)


def tables(history: RestorerHistory) -> list[Table]:
    """Tabulate the values of the curves; values of single steps are averaged over ranges of steps."""
    return [table for table in (_step_means(history), _evaluations(history), _gold(history)) if table.rows]


def _step_means(history: RestorerHistory) -> Table:
    columns = {
        gettext("Loss"): history.loss,
        gettext("Reward"): history.reward,
        gettext("Loss of the reward model"): history.frm_loss,
    }
    for term, points in history.values.items():
        columns[gettext("%(term)s, value") % {"term": term_title(term)}] = points
    for term, points in history.gradients.items():
        columns[gettext("%(term)s, gradient") % {"term": term_title(term)}] = points
    columns = {name: points for name, points in columns.items() if points}
    ends = [points[-1][0] for points in columns.values()]
    last = int(max(ends, default=0))
    length = range_length(last, MAX_ROWS)
    found = {name: means(points, last, MAX_ROWS) for name, points in columns.items()}
    return Table(
        gettext("Means over steps"),
        [gettext("Steps"), *columns],
        [
            [
                gettext("%(first)s to %(last)s")
                % {"first": f"{number * length + 1:,}", "last": f"{min((number + 1) * length, last):,}"},
                *(figure(points[number][1]) if number in points else "–" for points in found.values()),
            ]
            for number in sorted({number for points in found.values() for number in points})
        ],
    )


def _evaluations(history: RestorerHistory) -> Table:
    rows = history.evaluations
    measures = [measure for name, measure in MEASURES.items() if any(name in row.values for row in rows)]
    several = len({row.strength for row in rows}) > 1
    strength = [gettext("Strength")] if several else []
    return Table(
        gettext("Held-out faces"),
        [gettext("Step"), *strength, *(measure.title for measure in measures), gettext("Alarms")],
        [
            [
                f"{row.step:,}",
                *([figure(row.strength)] if several else []),
                *(figure(row.values.get(measure.name)) for measure in measures),
                " ".join(row.alarms) or pgettext("alarms", "none"),
            ]
            for row in rows
        ],
    )


def _gold(history: RestorerHistory) -> Table:
    return Table(
        gettext("Agreement of the reward model with the gold labels"),
        [gettext("Step"), gettext("Contested"), gettext("Pairs"), gettext("Anchored"), gettext("Pairs")],
        [
            [f"{row.step:,}", *(cell for stratum in STRATA for cell in _share(row.agreement, row.pairs, stratum))]
            for row in history.gold
        ],
    )


def _share(agreement: dict[str, float | None], pairs: dict[str, int], stratum: str) -> tuple[str, str]:
    share = agreement[stratum]
    return "–" if share is None else f"{share:.1%}", f"{pairs[stratum]:,}"
