"""Training runs, read from their folders: what lies in RUN_ROOT is a run, wherever it was made.

A folder may be half copied, being written right now, or not ours at all: what cannot be read is said, not raised.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from annotate.charts.axes import Point
from annotate.runs.untrusted_json import (
    Unreadable,
    as_count,
    as_number,
    as_object,
    as_text,
    as_texts,
    as_time,
    read,
    row_of,
)

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")  # no file system has longer ones
STALE = timedelta(minutes=2)
ORIGINS = {"ground_truth": "ground truth", "human": "human", "simulated": "simulated", "svm": "SVM"}
STRATA = ("contested", "anchored")
KINDS = {
    "frm": "reward model",
    "base": "base restorer",
    "refl": "reward feedback learning",
    "evaluation": "evaluation of restorers",
}
SOURCES = {"base_run": "tuned from", "frm": "reward model", "judge": "judge that never trains"}


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
    """The frozen preferences, or the faces (`counts` by split, without origin), that the run learned from."""

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
    """`state` is running, done, failed, stopped (by hand), interrupted (running, but silent for long) or waiting (no
    step yet)."""

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
    rate: float | None = None  # units a second
    unit: str = "pairs"
    config: dict[str, str] = field(default_factory=dict)
    start: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    snapshot: Snapshot = field(default_factory=Snapshot)
    photographs: Snapshot = field(default_factory=Snapshot)

    @property
    def title(self) -> str:
        return KINDS.get(self.kind, self.kind)

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
        config = read(folder / "config.json")
        status = read(folder / "status.json") if (folder / "status.json").exists() else {"state": "waiting"}
        return _described(folder, config, status)
    except Unreadable as unreadable:
        changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
        return Run(name=folder.name, folder=folder, created=changed, problem=str(unreadable))


def _described(folder: Path, config: dict[str, Any], status: dict[str, Any]) -> Run:
    created, updated, state = as_time(config.get("created")), as_time(status.get("updated")), status.get("state")
    if not created or not isinstance(config.get("kind"), str):
        raise Unreadable("config.json names no kind or no time of creation: this is no run of ours")
    if state not in ("running", "done", "failed", "stopped", "waiting"):
        raise Unreadable(f"status.json has an unknown state: {as_text(state)[:60]}")
    if state == "running" and not (updated and timezone.now() - updated < STALE):
        state = "interrupted"
    kind = config["kind"]
    unit = status.get("unit")
    return Run(
        name=folder.name,
        folder=folder,
        created=created,
        kind=kind,
        state=state,
        step=as_count(status.get("step")),
        total=as_count(status.get("total")),
        updated=updated,
        error=as_text(status.get("error", "")),
        rate=as_number(status.get("rate", status.get("pairs_per_second"))),
        unit=unit if unit in ("pairs", "images") else "images" if kind in ("base", "refl", "evaluation") else "pairs",
        config=as_texts(config.get("config")),
        start=as_texts(config.get("start")),
        code=as_texts(config.get("code")),
        snapshot=_snapshot(config.get("manifest")),
        photographs=_snapshot(config.get("faces")),
    )


def _snapshot(value: Any) -> Snapshot:
    found = as_object(value)
    return Snapshot(
        sha256=as_text(found.get("sha256", "")),
        rows=as_count(found.get("rows")),
        faces=as_count(found.get("faces")),
        created=as_time(found.get("created")),
        counts=[
            Count(*name.partition("/")[::2], pairs=as_count(pairs))
            for name, pairs in as_object(found.get("counts")).items()
        ],
        filters=as_texts(found.get("filters")),
    )


def sources(run: Run) -> list[tuple[str, str, bool]]:
    """The runs it was made from: what each is to it, its name, whether it has a page here."""
    found = []
    for key, role in SOURCES.items():
        path = Path(run.start.get(key, ""))
        if path.name and path.name != "null":
            is_here = path.parent in (Path(), Path(settings.RUN_ROOT))
            found.append((role, path.name, is_here and get_run(path.name) is not None))
    return found


def curve_lines(run: Run) -> list[bytes]:
    """The last one may be being written, or be empty."""
    try:
        return (run.folder / "curve.jsonl").read_bytes().split(b"\n")
    except OSError:
        return []


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
        length = stretch_length(last, limit)
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
    lines = curve_lines(run)
    training: dict[int, dict[str, Any]] = {}
    gold: dict[int, dict[str, Any]] = {}
    unreadable = 0
    for number, line in enumerate(lines, start=1):
        row = row_of(line)
        if row is None:
            unreadable += bool(line.strip()) and number < len(lines)
        elif "gold" in row:
            gold[as_count(row.get("step"))] = row
        else:
            training[as_count(row.get("step"))] = row
    rows = sorted(training.items())
    return History(
        loss=list(_points(((step, row.get("loss")) for step, row in rows))),
        accuracy={
            origin: list(_points((step, as_object(row.get("accuracy")).get(origin)) for step, row in rows))
            for origin in ORIGINS
        },
        gold=[gold_of(step, row) for step, row in sorted(gold.items())],
        data_wait=as_number(rows[-1][1].get("data_wait")) if rows else None,
        unreadable=unreadable,
    )


def gold_of(step: int, row: dict[str, Any]) -> Gold:
    strata = {stratum: as_object(as_object(row.get("gold")).get(stratum)) for stratum in STRATA}
    return Gold(
        step=step,
        agreement={stratum: as_number(found.get("agreement")) for stratum, found in strata.items()},
        pairs={stratum: as_count(found.get("pairs")) for stratum, found in strata.items()},
    )


def means(points: Iterable[Point], last: int, limit: int) -> dict[int, Point]:
    """The mean of each of at most `limit` equal stretches of steps, by the stretch's number."""
    length = stretch_length(last, limit)
    groups = defaultdict[int, list[Point]](list)
    for step, value in points:
        groups[max(int(step) - 1, 0) // length].append((step, value))
    return {
        number: (sum(step for step, _ in group) / len(group), sum(value for _, value in group) / len(group))
        for number, group in groups.items()
    }


def stretch_length(last: int, limit: int) -> int:
    return max(1, -(-last // limit))


def _points(values: Iterable[tuple[int, Any]]) -> Iterator[Point]:
    for step, value in values:
        if (number := as_number(value)) is not None:
            yield step, number
