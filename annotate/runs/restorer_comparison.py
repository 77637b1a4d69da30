"""A run of kind evaluation: restorers by metrics, read from its folder."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from annotate.runs.frm_evaluation import downloads_of
from annotate.runs.pictures import FACE, NAMES, TITLES, Picture, picture
from annotate.runs.run_folders import NAME as RUN
from annotate.runs.run_folders import Run
from annotate.runs.untrusted_json import (
    Unreadable,
    as_count,
    as_integer,
    as_object,
    as_objects,
    as_text,
    as_texts,
    as_time,
    checked,
    read,
)

VERDICTS = ("better", "worse", "unclear")
MOST_DIGITS = 6
NO_RESTORERS = ("lq", "hq")  # never the best of a column


@dataclass(frozen=True)
class Metric:
    name: str
    title: str
    higher_is_better: bool | None
    digits: int
    trained_on: bool
    note: str
    simulated: bool  # a reward model that learned from simulated labels

    @property
    def better(self) -> str:
        if self.higher_is_better is None:
            return ""
        return "higher is better" if self.higher_is_better else "lower is better"

    def text(self, value: float, *, signed: bool = False) -> str:
        rounded = round(value, self.digits) + 0.0  # no -0.00
        return f"{rounded:{'+' if signed else ''},.{self.digits}f}".replace("-", "−")


@dataclass(frozen=True)
class Cell:
    """A restorer's mean with its 95% interval, and the difference against the base on the same faces."""

    metric: Metric
    mean: float
    low: float | None
    high: float | None
    faces: int | None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    verdict: str = ""
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
    def change_interval(self) -> str:
        return _interval(self.metric, self.difference_low, self.difference_high, signed=True)


@dataclass(frozen=True)
class Row:
    restorer: str
    title: str
    is_base: bool
    cells: list[Cell | None]  # in the order of the metrics


@dataclass(frozen=True)
class Comparison:
    problem: str = ""
    created: datetime | None = None
    split: str = ""
    faces: int = 0
    watched_out: int = 0  # faces left out because settings may fit them
    with_watched: bool = False
    sha256: str = ""
    base: str = ""
    simulated: bool = False
    frm: dict[str, str] = field(default_factory=dict)  # runs, by what they do here
    metrics: list[Metric] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    unavailable: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    face_names: list[str] = field(default_factory=list)  # that have pictures
    columns: dict[str, str] = field(default_factory=dict)  # titles of the pictures, by name
    downloads: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def frm_runs(self) -> list[tuple[str, str, bool]]:
        """What it does here, its name, whether that is an address."""
        roles = {"train": "reward model that they were trained with", "judge": "reward model that only judges"}
        return [(roles.get(role, role), name, bool(RUN.fullmatch(name))) for role, name in self.frm.items()]

    @property
    def base_title(self) -> str:
        return next((row.title for row in self.rows if row.is_base), self.base)

    @property
    def trained_on(self) -> list[str]:
        return [metric.title for metric in self.metrics if metric.trained_on]


def comparison(run: Run) -> Comparison | None:
    """None before there are results."""
    path = run.folder / "evaluation" / "results.json"
    if not path.exists():
        return None
    try:
        results = read(path)
    except Unreadable as unreadable:
        return Comparison(problem=str(unreadable), downloads=downloads_of(run))
    problems: list[str] = []
    simulated, faces, pictures = (results.get(name) for name in ("simulated", "faces", "pictures"))
    if not isinstance(simulated, bool):
        problems.append("it does not say whether labels were simulated")
    base = results.get("base") if isinstance(results.get("base"), str) else ""
    metrics = [_metric(row, simulated is True) for row in as_objects(results.get("metrics"))]
    rows = [_row(row, metrics, str(base), problems) for row in as_objects(results.get("rows"))]
    for name in ("metrics", "rows"):
        found = results.get(name)
        if not isinstance(found, list) or len(as_objects(found)) < len(found):
            problems.append(f"“{name}” is no list of objects")
    titles = TITLES | {row.restorer: row.title for row in rows}
    return Comparison(
        created=as_time(results.get("created")),
        split=as_text(as_object(faces).get("split", "")),
        faces=as_count(as_object(faces).get("count")),
        watched_out=as_count(as_object(faces).get("watched_out", 0)),
        with_watched=as_object(faces).get("with_watched") is True,
        sha256=as_text(as_object(faces).get("sha256", "")),
        base=str(base),
        simulated=simulated is True,
        frm={name: found for name, found in as_object(results.get("frm")).items() if isinstance(found, str)},
        metrics=metrics,
        rows=_best_marked(rows, metrics),
        unavailable=as_texts(results.get("unavailable")),
        code=as_texts(results.get("code")),
        face_names=_addressed(as_object(pictures).get("faces"), FACE, "face", problems),
        columns={
            name: titles.get(name, name)
            for name in _addressed(as_object(pictures).get("columns"), NAMES, "column of pictures", problems)
        },
        downloads=downloads_of(run),
        problems=problems,
    )


@dataclass(frozen=True)
class Slides:
    """Two pictures of a face, to be laid over one another."""

    face: str
    left: str
    right: str
    sides: list[tuple[str, Picture]]


def slides(run: Run, found: Comparison, *, face: str = "", left: str = "", right: str = "") -> Slides | None:
    """As was chosen; what was not, or is unknown, is the first face, the base and the restorer after it."""
    names = list(found.columns)
    if not names or not found.face_names:
        return None
    first = found.base if found.base in names else names[0]
    left = left if left in names else first
    after = [name for name in (*names[names.index(left) + 1 :], *names) if name != left]
    right = right if right in names else next(iter(after), left)
    face = face if face in found.face_names else found.face_names[0]

    def shown(name: str) -> Picture:
        return picture(run, folder=f"evaluation/pictures/{name}", face=face, title=found.columns[name])

    return Slides(face, left, right, [("left", shown(left)), ("right", shown(right))])


def _metric(row: dict[str, Any], simulated: bool) -> Metric:
    name, higher, digits = as_text(row.get("name", "")), row.get("higher_is_better"), as_integer(row.get("digits"))
    return Metric(
        name=name,
        title=as_text(row.get("title") or name or "unnamed"),
        higher_is_better=higher if isinstance(higher, bool) else None,
        digits=min(max(3 if digits is None else digits, 0), MOST_DIGITS),
        trained_on=row.get("trained_on") is True,
        note=as_text(row.get("note") or ""),
        simulated=simulated and (name in ("reward", "judge") or "frm" in name.lower()),
    )


def _row(row: dict[str, Any], metrics: list[Metric], base: str, problems: list[str]) -> Row:
    name = as_text(row.get("restorer", ""))
    values, differences = as_object(row.get("values")), as_object(row.get("against_base"))
    return Row(
        restorer=name,
        title=as_text(row.get("title") or name or "unnamed"),
        is_base=bool(base) and name == base,
        cells=[_cell(metric, values, differences, f"{name}, {metric.name}", problems) for metric in metrics],
    )


def _cell(
    metric: Metric, values: dict[str, Any], differences: dict[str, Any], where: str, problems: list[str]
) -> Cell | None:
    for found in (values, differences):
        if found.get(metric.name) is not None and not isinstance(found[metric.name], dict):
            problems.append(f"{where} is no object")
    value, against = as_object(values.get(metric.name)), as_object(differences.get(metric.name))
    mean, low, high = (checked(value, part, where, problems) for part in ("mean", "low", "high"))
    if mean is None:
        return None
    difference, below, above = (checked(against, part, where, problems) for part in ("mean", "low", "high"))
    verdict = against.get("verdict")
    if against and verdict not in VERDICTS:
        problems.append(f"{where} has an unknown verdict: {as_text(verdict)[:40]}")
    return Cell(
        metric=metric,
        mean=mean,
        low=low,
        high=high,
        faces=as_integer(value.get("n")),
        difference=difference,
        difference_low=below,
        difference_high=above,
        verdict=verdict if isinstance(verdict, str) and verdict in VERDICTS else "",
    )


def _best_marked(rows: list[Row], metrics: list[Metric]) -> list[Row]:
    """Several are best if their means look the same; of a single restorer, or without a direction, none is."""
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
    return f"{metric.text(low, signed=signed)} to {metric.text(high, signed=signed)}"


def _addressed(value: Any, pattern, what: str, problems: list[str]) -> list[str]:
    """Names of files and folders; others have no address here."""
    names = value if isinstance(value, list) else []
    if value is not None and not isinstance(value, list):
        problems.append(f"the list of each {what} is no list")
    good = [name for name in names if isinstance(name, str) and pattern.fullmatch(name)]
    problems += [f"a {what} has an impossible name: {as_text(name)[:40]}" for name in names if name not in good]
    return list(dict.fromkeys(good))
