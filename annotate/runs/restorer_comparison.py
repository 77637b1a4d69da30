"""Results of an evaluation of restorers, read from its run folder."""

import re
from dataclasses import dataclass, field, replace
from datetime import datetime

from django.utils.translation import gettext, gettext_noop

from annotate.common.stored_text import translated, translated_notes
from annotate.runs.frm_evaluation import downloads_of
from annotate.runs.pictures import FACE, NAMES, TITLES
from annotate.runs.run_folders import NAME as RUN
from annotate.runs.run_folders import RunFolder, aware
from rewardlab.bootstrap import verdict
from rewardlab.tables import joined_keys
from rewardlab.training.checked_json import Unreadable, read_what_fits
from rewardlab.training.evaluation_schema import ComparisonResults, Difference, Estimate, MetricColumn, RestorerRow

VERDICTS = ("better", "worse", "unclear")
MAX_DIGITS = 6
NO_RESTORERS = ("lq", "hq")  # never marked as best
FACES = {"train": gettext_noop("train faces"), "gold": gettext_noop("gold faces"), "test": gettext_noop("test faces")}
ROLES = {
    "train": gettext_noop("reward model used in training"),
    "judge": gettext_noop("held-out reward model (judge)"),
}


@dataclass(frozen=True)
class Metric:
    name: str
    title: str
    higher_is_better: bool | None
    digits: int
    trained_on: bool
    note: str
    simulated: bool  # a reward model trained on simulated labels

    @property
    def better(self) -> str:
        if self.higher_is_better is None:
            return ""
        return gettext("higher is better") if self.higher_is_better else gettext("lower is better")

    def text(self, value: float, *, signed: bool = False) -> str:
        rounded = round(value, self.digits) + 0.0  # avoid -0.00
        return f"{rounded:{'+' if signed else ''},.{self.digits}f}".replace("-", "−")


@dataclass(frozen=True)
class Cell:
    """A restorer's mean of one metric with its 95% interval, and its difference against the base on the same faces."""

    metric: Metric
    mean: float
    low: float | None
    high: float | None
    faces: int | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    is_best: bool = False

    @property
    def value(self) -> str:
        return self.metric.text(self.mean)

    @property
    def interval(self) -> str:
        return _interval(self.metric, self.low, self.high)

    @property
    def change(self) -> str:
        return "" if self.difference is None else self.metric.text(self.difference, signed=True)

    @property
    def verdict(self) -> str:
        """The verdict that the interval supports, whatever verdict the file states."""
        if self.difference is None or self.metric.higher_is_better is None:
            return ""
        return verdict(self.difference_low, self.difference_high, higher_is_better=self.metric.higher_is_better)

    @property
    def verdict_title(self) -> str:
        return translated(self.verdict)

    @property
    def change_interval(self) -> str:
        return _interval(self.metric, self.difference_low, self.difference_high, signed=True)


@dataclass(frozen=True)
class ComparedRestorer:
    restorer: str
    title: str
    is_base: bool
    cells: list[Cell | None]  # in the order of the metrics


@dataclass(frozen=True)
class RestorerComparison:
    problem: str = ""
    created: datetime | None = None
    split: str = ""
    dataset: str = ""  # empty: all
    has_originals: bool = True
    faces: int = 0
    monitored_left_out: int = 0  # faces left out because they were used to monitor training
    with_monitored: bool = False
    sha256: str = ""
    base: str = ""
    simulated: bool = False
    frm: dict[str, str] = field(default_factory=dict)  # run by role
    metrics: list[Metric] = field(default_factory=list)
    rows: list[ComparedRestorer] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    face_names: list[str] = field(default_factory=list)  # faces with pictures
    columns: dict[str, str] = field(default_factory=dict)  # titles of picture columns by name
    downloads: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def frm_runs(self) -> list[tuple[str, str, bool]]:
        """Role and name of each reward model, and whether its run has a page."""
        titles = {role: gettext(title) for role, title in ROLES.items()}
        return [(titles.get(role, role), name, bool(RUN.fullmatch(name))) for role, name in self.frm.items()]

    @property
    def faces_title(self) -> str:
        if not self.split:
            return gettext("unknown faces")
        return gettext(FACES[self.split]) if self.split in FACES else gettext("%(split)s faces") % {"split": self.split}

    @property
    def base_title(self) -> str:
        return next((row.title for row in self.rows if row.is_base), self.base)

    @property
    def trained_on(self) -> list[str]:
        return [metric.title for metric in self.metrics if metric.trained_on]


def comparison(run: RunFolder) -> RestorerComparison | None:
    """Read the results of an evaluation; None if there are none yet."""
    path = run.folder / "evaluation" / "results.json"
    if not path.exists():
        return None
    problems: list[str] = []
    try:
        results = read_what_fits(path, ComparisonResults, problems)
    except Unreadable as unreadable:
        return RestorerComparison(problem=translated(str(unreadable)), downloads=downloads_of(run))
    problems = list(map(translated, problems))
    is_simulated, base = results.simulated is True, results.base or ""
    if results.simulated is None:
        problems.append(gettext("“simulated” is missing: whether the labels were simulated is unknown"))
    metrics = sorted((_metric(column, is_simulated) for column in results.metrics), key=_reading_order)
    rows = [_row(row, metrics, base) for row in results.rows]
    titles = {name: gettext(title) for name, title in TITLES.items()} | {row.restorer: row.title for row in rows}
    return RestorerComparison(
        created=aware(results.created),
        split=results.faces.split,
        dataset=results.faces.dataset,
        has_originals=results.faces.has_originals,
        faces=results.faces.count,
        monitored_left_out=results.faces.monitored_left_out,
        with_monitored=results.faces.with_monitored,
        sha256=results.faces.sha256,
        base=base,
        simulated=is_simulated,
        frm={role: name for role, name in results.frm.items() if name},
        metrics=metrics,
        rows=_mark_best(rows, metrics),
        unavailable=joined_keys(
            {translated(title): translated(remedy) for title, remedy in results.unavailable.items()}
        ),
        code=results.code,
        face_names=_valid_names(
            results.pictures.faces, FACE, gettext("a face has an invalid name: %(name)s"), problems
        ),
        columns={
            name: titles.get(name, name)
            for name in _valid_names(
                results.pictures.columns, NAMES, gettext("a column of pictures has an invalid name: %(name)s"), problems
            )
        },
        downloads=downloads_of(run),
        problems=problems,
    )


def _metric(column: MetricColumn, is_simulated: bool) -> Metric:
    return Metric(
        name=column.name,
        title=translated(column.title or column.name) or gettext("unnamed"),
        higher_is_better=column.higher_is_better,
        digits=min(3 if column.digits is None else column.digits, MAX_DIGITS),
        trained_on=column.trained_on,
        note=translated_notes(column.note or ""),
        simulated=is_simulated and (column.name in ("reward", "judge") or "frm" in column.name.lower()),
    )


def _reading_order(metric: Metric) -> tuple[bool, bool]:
    """Place the judge, which decides, first, and what restorers were trained on last."""
    return metric.trained_on, metric.name != "judge"


def _row(row: RestorerRow, metrics: list[Metric], base: str) -> ComparedRestorer:
    return ComparedRestorer(
        restorer=row.restorer,
        title=translated(row.title or row.restorer) or gettext("unnamed"),
        is_base=bool(base) and row.restorer == base,
        cells=[_cell(metric, row.values.get(metric.name), row.against_base.get(metric.name)) for metric in metrics],
    )


def _cell(metric: Metric, value: Estimate | None, against: Difference | None) -> Cell | None:
    if value is None or value.mean is None:
        return None
    against = against or Difference()
    return Cell(
        metric=metric,
        mean=value.mean,
        low=value.low,
        high=value.high,
        faces=value.n,
        difference=against.mean,
        difference_low=against.low,
        difference_high=against.high,
    )


def _mark_best(rows: list[ComparedRestorer], metrics: list[Metric]) -> list[ComparedRestorer]:
    """Mark the best cell of each column. Means that round to the same value share it.

    Columns with one restorer, or without a direction, have no best cell.
    """
    best = set()
    for number, metric in enumerate(metrics):
        cells = [(row.restorer, cell) for row in rows if (cell := row.cells[number])]
        rivals = [(name, cell) for name, cell in cells if name not in NO_RESTORERS]
        if metric.higher_is_better is None or len(rivals) < 2:
            continue
        top = (max if metric.higher_is_better else min)(cell.mean for _, cell in rivals)
        best |= {(name, number) for name, cell in rivals if cell.value == metric.text(top)}
    return [
        replace(
            row,
            cells=[
                cell and replace(cell, is_best=(row.restorer, number) in best) for number, cell in enumerate(row.cells)
            ],
        )
        for row in rows
    ]


def _interval(metric: Metric, low: float | None, high: float | None, *, signed: bool = False) -> str:
    if low is None or high is None:
        return ""
    ends = {"low": metric.text(low, signed=signed), "high": metric.text(high, signed=signed)}
    return gettext("%(low)s to %(high)s") % ends


def _valid_names(names: list[str], pattern: re.Pattern[str], problem: str, problems: list[str]) -> list[str]:
    """Return the names that match the pattern, without duplicates, and report the others as problems."""
    problems += [problem % {"name": name[:40]} for name in names if not pattern.fullmatch(name)]
    return list(dict.fromkeys(name for name in names if pattern.fullmatch(name)))
