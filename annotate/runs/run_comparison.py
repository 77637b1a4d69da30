"""Several runs laid over each other: one figure per quantity, what cannot be compared, and how the runs differ."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from django.utils.translation import gettext, ngettext

from annotate.charts.smoothing import Column, smoothed
from annotate.runs.curves import CURVED, Curve, Curves, Quantity, curves
from annotate.runs.restorer_history import figure
from annotate.runs.run_folders import RunFolder, get_run

MAX_RUNS = 24  # as many as there are pairs of a colour and a line style
MAX_TERMS = 16  # figures of single terms of the loss
COLOURS, DASHES = 6, 4  # in charts.css
FIRST_DASHES = (0, 1, 2, 3, 0, 2)  # colours that colour-blind people confuse have different line styles
SMOOTHING = (0, 3, 10, 30, 100, 300, 1000, 3000)  # steps; 0 is none
LONGEST_NAME = 60
UNITS = ((7200.0, 3600.0), (120.0, 60.0), (0.0, 1.0))  # from how many seconds on, seconds per unit
MAX_PROBLEMS = 3


@dataclass(frozen=True)
class View:
    """What the address chooses: runs, hidden runs, x = step or time, smoothing, logarithmic scale."""

    names: list[str]
    hidden: frozenset[str] = frozenset()
    by_time: bool = False
    smoothing: int = 0
    log: bool = False


@dataclass(frozen=True)
class ComparedRun:
    number: int
    run: RunFolder
    hidden: bool

    @property
    def colour(self) -> int:
        return self.number % COLOURS

    @property
    def dash(self) -> int:
        """The line style: no two of 24 runs share it and the colour."""
        return (FIRST_DASHES[self.colour] + self.number // COLOURS) % DASHES

    @property
    def css(self) -> str:
        return f"run-{self.colour} dash-{self.dash}"


@dataclass(frozen=True)
class Line:
    """A run's curve of one quantity. smooth: the values, averaged; None if they are not."""

    run: ComparedRun
    x: Column
    values: Column
    smooth: Column | None
    last: str
    last_step: int
    best: str
    best_step: int | None


@dataclass(frozen=True)
class Figure:
    quantity: Quantity
    lines: list[Line]
    notes: list[str]
    log: bool  # logarithmic: asked for, not shares, and all values are positive

    @property
    def visible(self) -> list[Line]:
        return [line for line in self.lines if not line.run.hidden]


@dataclass(frozen=True)
class Difference:
    """A row of the table of differences: an option and its value in each run."""

    name: str
    values: list[str]


@dataclass(frozen=True)
class RunComparison:
    view: View
    runs: list[ComparedRun]
    figures: list[Figure]
    terms: list[Figure]  # single terms of the loss
    notes: list[str]
    differences: list[Difference]
    equal: int  # number of options that are the same in all runs
    x_title: str

    @property
    def is_active(self) -> bool:
        return any(each.run.poll_seconds for each in self.runs)


def compare(view: View) -> RunComparison:
    """Read the runs and lay their curves over each other."""
    notes: list[str] = []
    runs = [ComparedRun(number, run, run.name in view.hidden) for number, run in enumerate(_existing(view, notes))]
    found = {each.run.name: curves(each.run) for each in runs}
    for each in runs:
        notes += _notes_of_run(each.run, found[each.run.name], by_time=view.by_time)
    kinds = {each.run.kind for each in runs if each.run.kind in CURVED}
    if len(kinds) > 1:
        titles = ", ".join(dict.fromkeys(each.run.title for each in runs if each.run.kind in CURVED))
        notes.append(
            gettext(
                "These runs are of different kinds (%(kinds)s): their losses are different quantities, and each has a "
                "plot of its own."
            )
            % {"kinds": titles}
        )
    unit, x_title = _x_axis(found.values(), by_time=view.by_time)
    quantities = {key: quantity for each in found.values() for key, quantity in each.quantities.items()}
    figures = [
        made
        for quantity in sorted(quantities.values(), key=lambda found: (found.rank, found.key))
        if (made := _figure(quantity, runs, found, view, unit)).lines
    ]
    terms = [made for made in figures if made.quantity.of_terms]
    if len(terms) > MAX_TERMS:
        notes.append(gettext("Terms of the loss that are not shown: %(n)s") % {"n": len(terms) - MAX_TERMS})
    differences, equal = _differences([each.run for each in runs if not each.run.problem])
    return RunComparison(
        view=view,
        runs=runs,
        figures=[made for made in figures if not made.quantity.of_terms],
        terms=terms[:MAX_TERMS],
        notes=notes,
        differences=differences,
        equal=equal,
        x_title=x_title,
    )


def _existing(view: View, notes: list[str]) -> list[RunFolder]:
    runs = []
    for name in view.names[:MAX_RUNS]:
        if (run := get_run(name)) is not None:
            runs.append(run)
        else:
            notes.append(gettext("There is no run %(name)s.") % {"name": name[:LONGEST_NAME]})
    if left_out := view.names[MAX_RUNS:]:
        names = ", ".join(name[:LONGEST_NAME] for name in left_out[:MAX_RUNS])
        notes.append(
            gettext("At most %(most)s runs are compared at once. Left out: %(names)s")
            % {"most": MAX_RUNS, "names": names}
        )
    return runs


def _notes_of_run(run: RunFolder, found: Curves, *, by_time: bool) -> list[str]:
    name = {"name": run.name}
    if run.problem:
        return [gettext("%(name)s cannot be read: %(problem)s.") % (name | {"problem": run.problem})]
    if run.kind not in CURVED:
        return [
            gettext("%(name)s (%(kind)s) has no curves. Its tables are on its own page.") % (name | {"kind": run.title})
        ]
    if not found.by_key and not found.problems:
        return [gettext("%(name)s has no values yet.") % name]
    notes = []
    if found.problems:
        several = ngettext(
            "%(n)s value of %(name)s cannot be used: %(problems)s",
            "%(n)s values of %(name)s cannot be used: %(problems)s",
            len(found.problems),
        )
        listed = "; ".join(found.problems[:MAX_PROBLEMS]) + (" …" if len(found.problems) > MAX_PROBLEMS else "")
        notes.append(several % (name | {"n": f"{len(found.problems):,}", "problems": listed}))
    untimed = sum(int(np.isnan(curve.seconds).sum()) for curve in found.by_key.values())
    if by_time and untimed:
        all_of_them = untimed == sum(len(curve.steps) for curve in found.by_key.values())
        text = (
            gettext("%(name)s is from a version that recorded no times, so it is not drawn by time.")
            if all_of_them
            else gettext("%(n)s values of %(name)s have no time and are not drawn by time.")
        )
        notes.append(text % (name | {"n": f"{untimed:,}"}))
    return notes


def _x_axis(found: Iterable[Curves], *, by_time: bool) -> tuple[float, str]:
    """Return the number of seconds in a unit of x, and the title of the axis."""
    if not by_time:
        return 1.0, gettext("step")
    ends = [curve.seconds for each in found for curve in each.by_key.values()]
    longest = np.nanmax(np.concatenate([[0.0], *ends]))
    unit = next(unit for least, unit in UNITS if longest >= least)
    titles = {
        3600.0: gettext("hours since the start"),
        60.0: gettext("minutes since the start"),
        1.0: gettext("seconds since the start"),
    }
    return unit, titles[unit]


def _figure(
    quantity: Quantity, runs: Sequence[ComparedRun], found: dict[str, Curves], view: View, unit: float
) -> Figure:
    drawn = [(each, found[each.run.name].by_key.get(quantity.key)) for each in runs]
    lines = [_line(each, quantity, curve, view, unit) for each, curve in drawn if curve]
    numbers = np.concatenate([line.values for line in lines])
    numbers = numbers[~np.isnan(numbers)]
    log = view.log and not quantity.share and len(numbers) > 0 and bool(numbers.min() > 0)
    notes = _incomparable(quantity.key, [line.run.run for line in lines])
    if view.log and quantity.share:
        notes.append(gettext("Linear scale, as for all shares."))
    elif view.log and len(numbers) and not log:
        notes.append(gettext("Linear scale, because some values are not positive."))
    return Figure(quantity, lines, notes, log)


def _line(run: ComparedRun, quantity: Quantity, curve: Curve, view: View, unit: float) -> Line:
    x, values, length = curve.steps, curve.values, float(view.smoothing)
    if view.by_time:
        timed = np.flatnonzero(~np.isnan(curve.seconds))
        timed = timed[np.argsort(curve.seconds[timed], kind="stable")]  # a clock may have been set back
        x, values = curve.seconds[timed] / unit, values[timed]
        if len(x) > 1 and (steps := np.ptp(curve.steps)) > 0:
            length = max(length * np.ptp(x) / steps, 1e-9)  # the mean duration of that many steps
    present = np.flatnonzero(~np.isnan(curve.values))
    best = present[np.argmax(curve.values[present] * quantity.better)] if len(present) and quantity.better else None
    last = present[-1] if len(present) else None
    return Line(
        run=run,
        x=x,
        values=values,
        smooth=smoothed(x, values, length) if view.smoothing and quantity.noisy else None,
        last="–" if last is None else as_text(curve.values[last], quantity),
        last_step=int(curve.steps[-1 if last is None else last]),
        best="" if best is None else as_text(curve.values[best], quantity),
        best_step=None if best is None else int(curve.steps[best]),
    )


def as_text(value: float, quantity: Quantity) -> str:
    return f"{value:.1%}" if quantity.share else figure(value)


def _incomparable(key: str, runs: Sequence[RunFolder]) -> list[str]:
    """Say why values of one quantity cannot be compared between these runs."""
    what = key.partition("-")[0]
    notes = []
    if what == "held_out" and _differ(run.photographs.sha256 for run in runs):
        notes.append(gettext("Measured on different lists of faces: do not compare the values."))
    if key == "held_out-judge" and _differ(_source(run, "judge") for run in runs):
        notes.append(gettext("Scored by different judges: do not compare the values."))
    if key in ("held_out-reward", "reward") and _differ(_source(run, "frm") for run in runs):
        notes.append(gettext("Scored by different reward models: do not compare the values."))
    if what in ("gold", "accuracy") and _differ(run.snapshot.sha256 for run in runs):
        notes.append(gettext("From different snapshots: the labels differ."))
    if key == "loss-frm" and _differ(run.snapshot.sha256 for run in runs):
        notes.append(gettext("Trained on different snapshots: the labels differ."))
    if what == "gold" and any(run.snapshot.gold_simulated for run in runs):
        notes.append(gettext("Labels by SIMULATED annotators."))
    if key == "loss-refl":
        options = sorted({option for run in runs for option in run.config if option.startswith(("lambda_", "reg"))})
        different = [option for option in options if _differ(run.config.get(option, "") for run in runs)]
        if different:
            message = gettext("The weights of its terms differ (%(options)s): do not compare the values.")
            notes.append(message % {"options": ", ".join(different)})
    return notes


def _source(run: RunFolder, role: str) -> str:
    return Path(run.start.get(role, "")).name


def _differ(values: Iterable[str]) -> bool:
    return len(set(values)) > 1


def _differences(runs: Sequence[RunFolder]) -> tuple[list[Difference], int]:
    """List what differs between the runs, and count what does not."""
    described = [_described(run) for run in runs]
    names = list(dict.fromkeys(name for each in described for name in each))
    rows = [Difference(name, [each.get(name, "–") for each in described]) for name in names]
    different = [row for row in rows if _differ(row.values)]
    return different, len(rows) - len(different)


def _described(run: RunFolder) -> dict[str, str]:
    return {
        gettext("kind"): run.title,
        **run.config,
        **{gettext("init: %(name)s") % {"name": name}: value for name, value in run.start.items()},
        gettext("training data"): run.snapshot.sha256[:10] or "–",
        gettext("faces"): run.photographs.sha256[:10] or "–",
        **run.code,
    }
