"""Our figures for a table: read from the results of evaluations, from runs, and from studies."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from annotate.models import Campaign, LearningCurve
from annotate.reproduction.journal import ReproductionError
from annotate.reproduction.steps import Reading
from annotate.studies.report import study
from rewardlab.metrics import fid
from rewardlab.paper_tables import Column, PaperTable
from rewardlab.training import checked_json
from rewardlab.training.checked_json import Unreadable
from rewardlab.training.evaluation_schema import ComparisonResults, FrmResults, MetricColumn
from rewardlab.training.run_schema import GoldPoint
from rewardlab.training.runs import Run, RunError

# Column of the paper -> our metrics, the paper's own first. A later one is shown under its own name.
METRICS = {
    "SSIM": ("ssim",), "PSNR": ("psnr",), "LPIPS": ("lpips_vgg", "lpips"), "CLIP Score": ("clipscore",),
    "Deg.": ("arcface_over1", "arcface", "sface"), "LMD": ("landmarks98", "landmarks68"), "MUSIQ": ("musiq",),
    "MANIQA": ("maniqa",), "FID": ("fid",), "Aesthetic": ("aesthetic_v1", "aesthetic"), "FaceReward": ("frm",),
}  # fmt: skip
AS_PRINTED = {"arcface"}  # metrics that count as the paper's although they are not the first choice
GOLD_STRATUM = "contested"
CROSS_VALIDATED = "Cross-validated accuracy"


@dataclass(frozen=True)
class Against:
    """A difference from the base on the same faces, with its 95% interval."""

    mean: float
    low: float | None
    high: float | None
    verdict: str


@dataclass(frozen=True)
class Measured:
    """A figure of ours with its 95% interval. run: where it is from. instead: the title of a metric that stands in."""

    value: float
    low: float | None = None
    high: float | None = None
    digits: int = 4
    run: str = ""
    instead: str = ""
    against: Against | None = None


@dataclass
class Ours:
    """What was found for a table: row -> column -> figure. extra: columns that the paper's table does not have.

    systems: row -> restorer or method. unmeasured: metrics that could not be computed, with their remedies. missing:
    sources that do not exist yet.
    """

    rows: dict[str, dict[str, Measured]] = field(default_factory=dict)
    extra: dict[str, Column] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    systems: dict[str, str] = field(default_factory=dict)
    unmeasured: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def put(self, row: str, column: str, figure: Measured) -> None:
        self.rows.setdefault(row, {})[column] = figure


def read(table: PaperTable, readings: Sequence[Reading], root: Path) -> Ours:
    """Read the figures of a table. root: the folder of the runs. What is not there yet is listed as missing."""
    found = Ours()
    for reading in readings:
        try:
            READERS[reading.kind](table, reading, root, found)
        except (Unreadable, RunError, FileNotFoundError) as error:
            found.missing.append(f"{reading.source or reading.kind}: {error}")
        except (ValueError, KeyError, TypeError) as error:
            raise ReproductionError(f"{reading.source} cannot be read: {error}") from error
    return found


def _evaluation(table: PaperTable, reading: Reading, root: Path, found: Ours) -> None:
    results = checked_json.read(root / reading.source / "evaluation" / "results.json", ComparisonResults)
    by_restorer = {row.restorer: row for row in results.rows}
    prefix = f"{reading.column}: " if reading.column else ""
    columns = {column.title.removeprefix(prefix) for column in table.columns if column.title.startswith(prefix)}
    known = {metric.name: metric for metric in results.metrics}
    chosen = {title: _first(METRICS.get(title, ()), known) for title in columns}
    used = {metric.name for metric in chosen.values() if metric}
    places = {metric.name: (prefix + title, metric) for title, metric in chosen.items() if metric}
    for name, metric in known.items():
        if name not in used:
            title = prefix + metric.title
            places[name] = (title, metric)
            found.extra.setdefault(title, Column(title, metric.higher_is_better))
    for row, restorer in reading.rows.items():
        values = by_restorer.get(restorer)
        if values is None:
            continue
        found.systems[row] = restorer
        for name, (column, metric) in places.items():
            estimate, difference = values.values.get(name), values.against_base.get(name)
            if estimate is None or estimate.mean is None:
                continue
            against = None
            if difference is not None and difference.mean is not None:
                against = Against(difference.mean, difference.low, difference.high, difference.verdict or "unclear")
            earlier = found.rows.get(row, {}).get(column)
            if reading.only_differences and earlier:
                found.put(row, column, replace(earlier, against=against))
                continue
            found.put(
                row, column,
                Measured(estimate.mean, estimate.low, estimate.high, metric.digits or 4, reading.source,
                         _stand_in(column.removeprefix(prefix), metric), against),
            )  # fmt: skip
    faces = results.faces
    count = f"{faces.count} faces of split {faces.split} (sha256 {faces.sha256[:12]})"
    base = f"; differences are from {results.base}, on the same faces" if results.base else ""
    note = f"Evaluation {reading.source}: {count}{base}."
    if note not in found.notes:
        found.notes.append(note)
    if results.simulated:
        found.notes.append("A reward model of this table learned from labels by SIMULATED annotators.")
    found.unmeasured += [f"Not measured: {title}: {remedy}" for title, remedy in results.unavailable.items()]


def _first(names: tuple[str, ...], known: Mapping[str, MetricColumn]) -> MetricColumn | None:
    return next((known[name] for name in names if name in known), None)


def _stand_in(column: str, metric: MetricColumn) -> str:
    """Return the metric's title if it is not the one that the paper's column names."""
    if metric.name == "fid":
        return "" if column != "FID" or metric.title == fid.FEATURES["inception"].title else metric.title
    names = METRICS.get(column, ())
    is_own = metric.name not in names or metric.name == names[0] or metric.name in AS_PRINTED  # or of no column
    return "" if is_own else metric.title


def _agreement(table: PaperTable, reading: Reading, root: Path, found: Ours) -> None:
    results = checked_json.read(root / reading.source / "evaluation" / "results.json", FrmResults)
    rows = {row.name: row for row in results.rows if row.stratum == GOLD_STRATUM}
    for title, name in reading.rows.items():
        row = rows.get(name)
        if row is not None and row.agreement is not None:
            found.put(title, reading.column, Measured(row.agreement, row.low, row.high, 1, reading.source))
    gold, simulated = results.gold, ", labels by SIMULATED annotators" if results.gold.simulated else ""
    found.notes.append(
        f"Agreement of run {reading.source}: {gold.decided} decided pairs of restorations of {gold.faces} gold "
        f"faces{simulated}."
    )


def _learning_curve(table: PaperTable, reading: Reading, root: Path, found: Ours) -> None:
    newest = LearningCurve.objects.order_by("-pk").first()
    if newest is None:
        raise FileNotFoundError("no learning curve has been measured")
    last: dict[str, dict[str, Any]] = {}
    for point in newest.results["points"]:
        if point["labels"] >= last.get(point["method"], point)["labels"]:
            last[point["method"]] = point
    column = Column(CROSS_VALIDATED, True, is_share=True)
    found.extra.setdefault(column.title, column)
    for title, name in reading.rows.items():
        if point := last.get(name):
            figure = Measured(point["accuracy"], point["low"], point["high"], 1, f"learning curve {newest.pk}")
            found.put(title, column.title, figure)
    labels, simulated = newest.results["labels"], newest.results["simulated"]
    found.notes.append(
        f"{CROSS_VALIDATED}: over faces, on {labels} labels{f', {simulated} of them SIMULATED' if simulated else ''}."
    )


def _gold_curve(table: PaperTable, reading: Reading, root: Path, found: Ours) -> None:
    run = Run(root / reading.source)
    run.description()
    points = run.points_of(GoldPoint)
    for point in points:
        if (share := point.gold.get(GOLD_STRATUM)) and share.agreement is not None:
            found.put(
                f"Iteration {point.step}", reading.column, Measured(share.agreement, None, None, 1, reading.source)
            )
    if points and (share := points[0].gold.get(GOLD_STRATUM)):
        found.notes.append(f"Run {reading.source}: {share.pairs} gold pairs of restorations; a curve has no intervals.")


def _study(table: PaperTable, reading: Reading, root: Path, found: Ours) -> None:
    wanted = {frozenset(pair.split(" ")): (title, pair.split(" ")[0]) for title, pair in reading.rows.items()}
    for campaign in Campaign.objects.filter(kind=Campaign.Kind.STUDY).order_by("pk"):
        for row in study(campaign).rows:
            key = frozenset((row.one, row.other))
            if key not in wanted or row.found.ratio is None:
                continue
            title, tuned = wanted[key]
            low, high = row.found.interval or (None, None)
            value = row.found.ratio
            if row.one != tuned:
                value, low, high = 1 - value, None if high is None else 1 - high, None if low is None else 1 - low
            found.put(title, str(row.question).capitalize(), Measured(value, low, high, 0, campaign.slug))
            found.notes.append(
                f"Study {campaign.slug}, {row.question}: {row.found.answers} answers of {row.found.participants} "
                f"participants on {row.found.faces} faces."
            )
    if not found.rows:
        raise FileNotFoundError("no user study has answers about these restorers")


def _cost(table: PaperTable, reading: Reading, root: Path, found: Ours) -> None:
    for title, name in reading.rows.items():
        status = Run(root / name).status()
        if status is None or status.cost is None or status.cost.device_hours is None:
            continue
        cost = status.cost
        memory = f", peak memory {cost.peak_memory / 1e9:.1f} GB" if cost.peak_memory else ""
        found.put(title, reading.column, Measured(cost.device_hours or 0.0, None, None, 2, name))
        found.notes.append(f"{name}: {(cost.seconds or 0) / 60:.0f} minutes on {cost.devices} x {cost.device}{memory}.")


def _times(table: PaperTable, reading: Reading, root: Path, found: Ours) -> None:
    timings = {one["restorer"]: one for one in json.loads(Path(reading.source).read_text())}
    for title, name in reading.rows.items():
        if one := timings.get(name):
            found.put(title, reading.column, Measured(one["seconds"], digits=3, run=name))
    one = next(iter(timings.values()))
    ranges = ", ".join(f"{name} {of['fastest']:.3f} to {of['slowest']:.3f}" for name, of in timings.items())
    found.notes.append(
        f"Seconds an image: median of {one['images']} images of {one['side']} pixels, one at a time, on "
        f"{one['device']}. Range: {ranges}."
    )


READERS: dict[str, Callable[[PaperTable, Reading, Path, Ours], None]] = {
    "evaluation": _evaluation, "agreement": _agreement, "learning-curve": _learning_curve, "gold-curve": _gold_curve,
    "study": _study, "cost": _cost, "times": _times,
}  # fmt: skip
