"""Training runs, read from their folders: what lies in RUN_ROOT is a run, wherever it was made.

A folder may be half copied, being written right now, or not ours at all. So every value is checked on its way in, and
what cannot be read is said instead of raised.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
STALE = timedelta(minutes=2)
ORIGINS = {"ground_truth": "ground truth", "human": "human", "simulated": "simulated", "svm": "SVM"}
STRATA = ("contested", "anchored")
DOWNLOADS = {"table.csv": "text/csv", "table.md": "text/markdown"}
LARGEST = 1e15  # beyond it is no figure of ours; infinity and NaN, which Python's JSON lets pass, are beyond too

Point = tuple[float, float]  # step, value


class Unreadable(ValueError):
    """What is wrong with a file, in words for the page."""


@dataclass(frozen=True)
class Count:
    split: str
    origin: str
    pairs: int

    @property
    def name(self) -> str:
        return f"{self.split}, {ORIGINS.get(self.origin, self.origin)}" if self.origin else self.split

    @property
    def simulated(self) -> bool:
        return self.origin == "simulated" and self.pairs > 0


@dataclass(frozen=True)
class Snapshot:
    """The frozen preferences that the run learned from."""

    sha256: str = ""
    rows: int = 0
    faces: int = 0
    created: datetime | None = None
    counts: list[Count] = field(default_factory=list)
    filters: dict[str, str] = field(default_factory=dict)

    @property
    def simulated(self) -> bool:
        return any(count.simulated for count in self.counts)

    @property
    def gold_simulated(self) -> bool:
        return any(count.simulated and count.split == "gold" for count in self.counts)


@dataclass(frozen=True)
class Run:
    """`state` is running, done, failed, interrupted (running, but silent for long) or waiting (no step yet)."""

    name: str
    folder: Path
    created: datetime
    problem: str = ""  # why nothing below is known
    kind: str = ""
    state: str = ""
    step: int = 0
    total: int = 0
    updated: datetime | None = None
    error: str = ""
    pairs_per_second: float | None = None
    config: dict[str, str] = field(default_factory=dict)
    start: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    snapshot: Snapshot = field(default_factory=Snapshot)

    @property
    def has_page(self) -> bool:
        return bool(NAME.fullmatch(self.name))

    @property
    def looks_again(self) -> int | None:
        """Seconds after which the page looks again; None: nothing more will come."""
        return {"running": 2, "interrupted": 10, "waiting": 10}.get(self.state)


def list_runs() -> list[Run]:
    """All runs, newest first."""
    root = Path(settings.RUN_ROOT)
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    runs = [_run(folder) for folder in folders if not folder.name.startswith(".")]
    return sorted(runs, key=lambda run: (run.created, run.name), reverse=True)


def get_run(name: str) -> Run | None:
    """None if there is no such run, or if the name could lead out of RUN_ROOT."""
    folder = Path(settings.RUN_ROOT) / name
    return _run(folder) if NAME.fullmatch(name) and folder.is_dir() else None


def _run(folder: Path) -> Run:
    try:
        if not NAME.fullmatch(folder.name):
            raise Unreadable("rename the folder: only letters, digits, dots, dashes and underscores have an address")
        config = _read(folder / "config.json")
        status = _read(folder / "status.json") if (folder / "status.json").exists() else {"state": "waiting"}
        return _described(folder, config, status)
    except Unreadable as unreadable:
        changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
        return Run(name=folder.name, folder=folder, created=changed, problem=str(unreadable))


def _described(folder: Path, config: dict[str, Any], status: dict[str, Any]) -> Run:
    created, updated, state = _time(config.get("created")), _time(status.get("updated")), status.get("state")
    if not created or not isinstance(config.get("kind"), str):
        raise Unreadable("config.json names no kind or no time of creation: this is no run of ours")
    if state not in ("running", "done", "failed", "waiting"):
        raise Unreadable(f"status.json has an unknown state: {_text(state)[:60]}")
    if state == "running" and not (updated and timezone.now() - updated < STALE):
        state = "interrupted"
    manifest = _object(config.get("manifest"))
    return Run(
        name=folder.name,
        folder=folder,
        created=created,
        kind=config["kind"],
        state=state,
        step=_count(status.get("step")),
        total=_count(status.get("total")),
        updated=updated,
        error=_text(status.get("error", "")),
        pairs_per_second=_number(status.get("pairs_per_second")),
        config=_texts(config.get("config")),
        start=_texts(config.get("start")),
        code=_texts(config.get("code")),
        snapshot=Snapshot(
            sha256=_text(manifest.get("sha256", "")),
            rows=_count(manifest.get("rows")),
            faces=_count(manifest.get("faces")),
            created=_time(manifest.get("created")),
            counts=[
                Count(*name.partition("/")[::2], pairs=_count(pairs))
                for name, pairs in _object(manifest.get("counts")).items()
            ],
            filters=_texts(manifest.get("filters")),
        ),
    )


@dataclass(frozen=True)
class Latest:
    loss: float | None = None
    gold: float | None = None  # agreement on contested pairs


def latest(run: Run) -> Latest:
    """The newest figures, from the end of the curve: nothing before them is parsed."""
    try:
        lines = (run.folder / "curve.jsonl").read_bytes().split(b"\n")
    except OSError:
        return Latest()
    return Latest(
        loss=_newest(lines, b'"loss"', lambda row: _number(row.get("loss"))),
        gold=_newest(lines, b'"gold"', lambda row: _agreement(row, "contested")),
    )


def _newest(lines, word, value_of) -> float | None:
    rows = (_row(line) for line in reversed(lines) if word in line)
    return next((value for row in rows if row and (value := value_of(row)) is not None), None)


@dataclass(frozen=True)
class Gold:
    step: int
    agreement: dict[str, float | None]  # by stratum
    pairs: dict[str, int]


@dataclass(frozen=True)
class Stretch:
    """Means over a stretch of steps."""

    first: int
    last: int
    loss: float | None
    accuracy: list[float | None]  # in the order of ORIGINS


@dataclass(frozen=True)
class History:
    """The curve of a run. A step that was made again, after an interruption, counts as it was made last."""

    loss: list[Point] = field(default_factory=list)
    accuracy: dict[str, list[Point]] = field(default_factory=dict)  # by origin
    gold: list[Gold] = field(default_factory=list)
    data_wait: float | None = None  # share of the time, of the newest line
    unreadable: int = 0  # lines, the last one not counted: it may be being written

    @property
    def last_step(self) -> int:
        return int(max([step for step, _ in self.loss[-1:]] + [gold.step for gold in self.gold[-1:]], default=0))

    def stretches(self, limit: int = 20) -> list[Stretch]:
        """The loss and the accuracies as a table of at most so many rows."""
        last = self.last_step
        length = _stretch(last, limit)
        loss = means(self.loss, last, limit)
        accuracy = [means(self.accuracy.get(origin, []), last, limit) for origin in ORIGINS]
        return [
            Stretch(
                first=number * length + 1,
                last=min((number + 1) * length, last),
                loss=loss[number][1],
                accuracy=[column[number][1] if number in column else None for column in accuracy],
            )
            for number in loss
        ]


def history(run: Run) -> History:
    try:
        lines = (run.folder / "curve.jsonl").read_bytes().split(b"\n")
    except OSError:
        return History()
    training: dict[int, dict[str, Any]] = {}
    gold: dict[int, dict[str, Any]] = {}
    unreadable = 0
    for number, line in enumerate(lines, start=1):
        row = _row(line)
        if row is None:
            unreadable += bool(line.strip()) and number < len(lines)
        elif "gold" in row:
            gold[_count(row.get("step"))] = row
        else:
            training[_count(row.get("step"))] = row
    rows = sorted(training.items())
    return History(
        loss=list(_points(((step, row.get("loss")) for step, row in rows))),
        accuracy={
            origin: list(_points((step, _object(row.get("accuracy")).get(origin)) for step, row in rows))
            for origin in ORIGINS
        },
        gold=[
            Gold(
                step=step,
                agreement={stratum: _agreement(row, stratum) for stratum in STRATA},
                pairs={stratum: _count(_object(_object(row["gold"]).get(stratum)).get("pairs")) for stratum in STRATA},
            )
            for step, row in sorted(gold.items())
        ],
        data_wait=_number(rows[-1][1].get("data_wait")) if rows else None,
        unreadable=unreadable,
    )


def means(points: Iterable[Point], last: int, limit: int) -> dict[int, Point]:
    """The mean of each of at most `limit` equal stretches of steps, by the stretch's number."""
    length = _stretch(last, limit)
    groups = defaultdict[int, list[Point]](list)
    for step, value in points:
        groups[max(int(step) - 1, 0) // length].append((step, value))
    return {
        number: (sum(step for step, _ in group) / len(group), sum(value for _, value in group) / len(group))
        for number, group in groups.items()
    }


def _stretch(last: int, limit: int) -> int:
    return max(1, -(-last // limit))


@dataclass(frozen=True)
class Share:
    """A share with its 95% interval (without one: its own value) and the number of comparisons behind it."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        interval = f" ({100 * self.low:.1f} to {100 * self.high:.1f})" if self.low < self.high else ""
        return f"{self.value:.1%}{interval}"


@dataclass(frozen=True)
class Row:
    """A method on one stratum of the gold set. `better`: pairs that it has right and the FRM has not; `worse`: the reverse."""

    name: str
    title: str
    group: str
    stratum: str
    share: Share | None
    mcnemar_p: float | None
    better: int | None
    worse: int | None
    paper: float | None
    paper_where: str
    note: str

    @property
    def p(self) -> str:
        if self.mcnemar_p is None:
            return ""
        return f"{self.mcnemar_p:.3f}" if self.mcnemar_p >= 0.001 else "< 0.001"

    @property
    def paper_figure(self) -> str:
        return "" if self.paper is None else f"{self.paper:.2%}"


@dataclass(frozen=True)
class Bin:
    predicted: float
    observed: float
    pairs: int


@dataclass(frozen=True)
class Calibration:
    bins: list[Bin]
    ece: float | None
    brier: float | None
    log_loss: float | None


@dataclass(frozen=True)
class Evaluation:
    problem: str = ""
    created: datetime | None = None
    gold: dict[str, Any] = field(default_factory=dict)
    two_agree: Share | None = None
    one_against_rest: Share | None = None
    frm_against_one: Share | None = None
    rows: list[Row] = field(default_factory=list)
    calibration: Calibration | None = None
    downloads: list[str] = field(default_factory=list)

    @property
    def simulated(self) -> bool:
        return self.gold.get("simulated") is True

    @property
    def strata(self) -> list[tuple[str, list[Row]]]:
        found = [(stratum, [row for row in self.rows if row.stratum == stratum]) for stratum in STRATA]
        return [(stratum, rows) for stratum, rows in found if rows]


def evaluation(run: Run) -> Evaluation | None:
    """None before the run was evaluated."""
    path = run.folder / "evaluation" / "results.json"
    if not path.exists():
        return None
    downloads = [name for name in DOWNLOADS if download(run, name)]
    try:
        results = _read(path)
    except Unreadable as unreadable:
        return Evaluation(problem=str(unreadable), downloads=downloads)
    people = _object(results.get("people"))
    return Evaluation(
        created=_time(results.get("created")),
        gold={name: value for name, value in _object(results.get("gold")).items() if value is not None},
        two_agree=_share(people.get("two_agree"), "value", "comparisons"),
        one_against_rest=_share(people.get("one_against_rest"), "value", "comparisons"),
        frm_against_one=_share(people.get("frm_against_one"), "value", "comparisons"),
        rows=[_evaluated(row) for row in _objects(results.get("rows"))],
        calibration=_calibration(results.get("calibration")),
        downloads=downloads,
    )


def download(run: Run, name: str) -> Path | None:
    """The path of one of the evaluation's tables, if it is one and is there."""
    path = run.folder / "evaluation" / name
    return path if name in DOWNLOADS and path.is_file() else None


def _evaluated(row: dict[str, Any]) -> Row:
    return Row(
        name=_text(row.get("name", "")),
        title=_text(row.get("title") or row.get("name") or "unnamed"),
        group=_text(row.get("group", "")),
        stratum=_text(row.get("stratum", "")),
        share=_share(row, "agreement", "pairs"),
        mcnemar_p=_number(row.get("mcnemar_p")),
        better=_integer(row.get("better")),
        worse=_integer(row.get("worse")),
        paper=_number(row.get("paper")),
        paper_where=_text(row.get("paper_where", "")),
        note=_text(row.get("note", "")),
    )


def _share(value: Any, key: str, count: str) -> Share | None:
    found = _object(value)
    share, low, high = (_number(found.get(name)) for name in (key, "low", "high"))
    if share is None:
        return None
    return Share(share, share if low is None else low, share if high is None else high, _count(found.get(count)))


def _calibration(value: Any) -> Calibration | None:
    if not value:
        return None
    found = _object(value)
    bins = [
        Bin(predicted, observed, _count(row.get("pairs")))
        for row in _objects(found.get("bins"))
        if (predicted := _number(row.get("predicted"))) is not None
        and (observed := _number(row.get("observed"))) is not None
    ]
    ece, brier, log_loss = (_number(found.get(name)) for name in ("ece", "brier", "log_loss"))
    return Calibration(bins=bins, ece=ece, brier=brier, log_loss=log_loss)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise Unreadable(f"{path.name} is missing") from None
    except OSError as error:
        raise Unreadable(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{path.name} is no JSON, or not all of it is there") from error
    if not isinstance(found, dict):
        raise Unreadable(f"{path.name} is not an object")
    return found


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _points(values: Iterable[tuple[int, Any]]) -> Iterator[Point]:
    for step, value in values:
        if (number := _number(value)) is not None:
            yield step, number


def _agreement(row: dict[str, Any], stratum: str) -> float | None:
    return _number(_object(_object(row.get("gold")).get(stratum)).get("agreement"))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _objects(value: Any) -> list[dict[str, Any]]:
    return [row for row in value if isinstance(row, dict)] if isinstance(value, list) else []


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and -LARGEST < value < LARGEST else None


def _integer(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _count(value: Any) -> int:
    return max(_integer(value) or 0, 0)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _texts(value: Any) -> dict[str, str]:
    return {name: _text(entry) for name, entry in _object(value).items()}


def _time(value: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
