"""Runs, read from their folders. Every folder in RUN_ROOT is a run, on whichever machine it was made.

A folder may be half copied, still being written, or not a run at all, so unreadable content is reported, not raised.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, overload

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext, gettext_noop

from annotate.charts.axes import Point
from annotate.common.stored_text import translated
from rewardlab.training import run_schema
from rewardlab.training.checked_json import Unreadable
from rewardlab.training.run_schema import Agreement, Cost, DataHeader, Description, FrmPoint, GoldPoint, Status

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")  # the longest name of common file systems is 255 bytes
STALE = timedelta(minutes=2)
ORIGINS = {"ground_truth": "ground truth", "human": "human", "simulated": "simulated", "svm": "SVM"}
STRATA = ("contested", "anchored")
PAIRS_TITLES = {"contested": gettext_noop("contested pairs"), "anchored": gettext_noop("anchored pairs")}
KINDS = {
    "frm": gettext_noop("reward model"),
    "base": gettext_noop("base restorer"),
    "refl": gettext_noop("reward feedback learning"),
    "evaluation": gettext_noop("evaluation of restorers"),
}
SOURCES = {
    "base_run": gettext_noop("tuned from"),
    "frm": gettext_noop("reward model"),
    "judge": gettext_noop("judge, never trained"),
    "parent": gettext_noop("continues"),
}
RATES = {"pairs": gettext_noop("pairs per second"), "images": gettext_noop("images per second")}


def pairs_title(stratum: str) -> str:
    return gettext(PAIRS_TITLES[stratum])


def origin_title(origin: str) -> str:
    return translated(ORIGINS.get(origin, origin))


@dataclass(frozen=True)
class Count:
    split: str
    origin: str
    pairs: int

    @property
    def name(self) -> str:
        split = translated(self.split)
        return f"{split}, {origin_title(self.origin)}" if self.origin else split

    @property
    def simulated(self) -> bool:
        return self.origin == "simulated" and self.pairs > 0


@dataclass(frozen=True)
class DataSummary:
    """The frozen preferences, or the faces (`counts` by split, without origin), that the run used."""

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
class RunFolder:
    """A run.

    state: running, done, failed, stopped (by the user), interrupted (running, but without update for two minutes) or
    waiting (no step yet).
    """

    name: str
    folder: Path
    created: datetime
    problem: str = ""  # why the folder cannot be read
    kind: str = ""
    state: str = ""
    step: int = 0
    total: int = 0
    updated: datetime | None = None
    error: str = ""
    rate: float | None = None  # units per second
    unit: str = "pairs"
    cost: Cost | None = None  # of a training
    config: dict[str, str] = field(default_factory=dict)
    start: dict[str, str] = field(default_factory=dict)
    code: dict[str, str] = field(default_factory=dict)
    snapshot: DataSummary = field(default_factory=DataSummary)
    photographs: DataSummary = field(default_factory=DataSummary)

    @property
    def devices(self) -> str:
        """The devices of a training, such as `4 × NVIDIA H200`."""
        if self.cost is None:
            return ""
        return f"{self.cost.devices} × {self.cost.device}" if self.cost.devices > 1 else self.cost.device

    @property
    def peak_gigabytes(self) -> float | None:
        return self.cost.peak_memory / 1e9 if self.cost and self.cost.peak_memory else None

    @property
    def title(self) -> str:
        return gettext(KINDS[self.kind]) if self.kind in KINDS else self.kind

    @property
    def state_title(self) -> str:
        return translated(self.state)

    @property
    def rate_title(self) -> str:
        if self.unit in RATES:
            return gettext(RATES[self.unit])
        return gettext("%(unit)s per second") % {"unit": self.unit}

    @property
    def error_text(self) -> str:
        """How the run ended, in the reader's language if it is a known sentence."""
        return translated(self.error)

    @property
    def has_page(self) -> bool:
        return bool(NAME.fullmatch(self.name))

    @property
    def poll_seconds(self) -> int | None:
        """Seconds between updates of the page; None once the run has ended."""
        return {"running": 2, "interrupted": 10, "waiting": 10}.get(self.state)


def list_runs() -> list[RunFolder]:
    """Read all runs, newest first."""
    root = Path(settings.RUN_ROOT)
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    runs = [_read_run(folder) for folder in folders if not folder.name.startswith(".")]
    return sorted(runs, key=lambda run: (run.created, run.name), reverse=True)


def get_run(name: str) -> RunFolder | None:
    """Read a run; None if it does not exist or its name is not valid."""
    folder = Path(settings.RUN_ROOT) / name
    return _read_run(folder) if NAME.fullmatch(name) and folder.is_dir() else None


def _read_run(folder: Path) -> RunFolder:
    try:
        if not NAME.fullmatch(folder.name):
            raise Unreadable(
                gettext("rename the folder: only letters, digits, dots, dashes and underscores are allowed")
            )
        config = run_schema.read_description(folder)
        has_status = (folder / "status.json").exists()
        return _described(folder, config, run_schema.read_status(folder) if has_status else Status(state="waiting"))
    except Unreadable as unreadable:
        changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
        return RunFolder(name=folder.name, folder=folder, created=changed, problem=translated(str(unreadable)))


def _described(folder: Path, config: Description, status: Status) -> RunFolder:
    updated, state = aware(status.updated), str(status.state)
    if state == "running" and not (updated and timezone.now() - updated < STALE):
        state = "interrupted"
    return RunFolder(
        name=folder.name,
        folder=folder,
        created=aware(config.created),
        kind=config.kind,
        state=state,
        step=status.step,
        total=status.total,
        updated=updated,
        error=status.error,
        rate=status.units_per_second,
        cost=status.cost,
        unit=status.unit or ("images" if config.kind in ("base", "refl", "evaluation") else "pairs"),
        config=as_texts(config.config),
        start=config.start,
        code=config.code,
        snapshot=_snapshot(config.manifest),
        photographs=_snapshot(config.faces),
    )


def _snapshot(header: DataHeader) -> DataSummary:
    return DataSummary(
        sha256=header.sha256,
        rows=header.rows,
        faces=header.faces,
        created=aware(header.created),
        counts=[Count(*name.partition("/")[::2], pairs=pairs) for name, pairs in header.counts.items()],
        filters={name: _listed(value) for name, value in header.filters.items()},
    )


def sources(run: RunFolder) -> list[tuple[str, str, bool]]:
    """List the runs that this run started from: role, name, whether it has a page here."""
    found = []
    for key, role in SOURCES.items():
        path = Path(run.start.get(key, ""))
        if path.name and path.name != "null":
            is_here = path.parent in (Path(), Path(settings.RUN_ROOT))
            title = gettext(role)
            if key == "parent" and (step := run.start.get("parent_step")):
                title = gettext("continues, from step %(step)s") % {"step": step}
            found.append((title, path.name, is_here and get_run(path.name) is not None))
    return found


def curve_lines(run: RunFolder) -> list[bytes]:
    """Read the lines of the curve. The last one may be incomplete or empty."""
    return lines_of(run.folder)


def lines_of(folder: Path) -> list[bytes]:
    try:
        return (folder / "curve.jsonl").read_bytes().split(b"\n")
    except OSError:
        return []


@dataclass(frozen=True)
class GoldAgreement:
    """Agreement with the gold labels at one step."""

    step: int
    agreement: dict[str, float | None]  # by stratum
    pairs: dict[str, int]


@dataclass(frozen=True)
class StepRange:
    """Means over a range of steps."""

    first: int
    last: int
    loss: float | None
    accuracy: list[float | None]  # in the order of ORIGINS


@dataclass(frozen=True)
class FrmHistory:
    """The curve of a run. If a step was repeated after an interruption, its last values count."""

    loss: list[Point] = field(default_factory=list)
    accuracy: dict[str, list[Point]] = field(default_factory=dict)  # by origin
    gold: list[GoldAgreement] = field(default_factory=list)
    data_wait: float | None = None  # share of the time, from the newest line
    unreadable: int = 0  # lines, without the last one: it may be incomplete

    @property
    def last_step(self) -> int:
        return int(max([step for step, _ in self.loss[-1:]] + [gold.step for gold in self.gold[-1:]], default=0))

    def step_ranges(self, limit: int = 20) -> list[StepRange]:
        """Average loss and accuracies over at most `limit` ranges of steps."""
        last = self.last_step
        length = range_length(last, limit)
        loss = means(self.loss, last, limit)
        accuracy = [means(self.accuracy.get(origin, []), last, limit) for origin in ORIGINS]
        return [
            StepRange(
                first=number * length + 1,
                last=min((number + 1) * length, last),
                loss=loss[number][1],
                accuracy=[column[number][1] if number in column else None for column in accuracy],
            )
            for number in loss
        ]


def history(run: RunFolder) -> FrmHistory:
    """Read the curve of a reward model's training."""
    lines = curve_lines(run)
    training: dict[int, FrmPoint] = {}
    gold: dict[int, GoldAgreement] = {}
    unreadable = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        problems: list[str] = []
        point = run_schema.decode_point(line, "frm", f"line {number}", problems)
        unreadable += bool(problems) and number < len(lines)
        if isinstance(point, GoldPoint):
            gold[point.step] = gold_of(point)
        elif isinstance(point, FrmPoint):
            training[point.step] = point
    rows = [point for _, point in sorted(training.items())]
    return FrmHistory(
        loss=[(point.step, point.loss) for point in rows if point.loss is not None],
        accuracy={
            origin: [(point.step, share) for point in rows if (share := point.accuracy.get(origin)) is not None]
            for origin in ORIGINS
        },
        gold=[agreement for _, agreement in sorted(gold.items())],
        data_wait=rows[-1].data_wait if rows else None,
        unreadable=unreadable,
    )


def gold_of(point: GoldPoint) -> GoldAgreement:
    strata = {stratum: point.gold.get(stratum, Agreement()) for stratum in STRATA}
    return GoldAgreement(
        step=point.step,
        agreement={stratum: found.agreement for stratum, found in strata.items()},
        pairs={stratum: found.pairs for stratum, found in strata.items()},
    )


def means(points: Iterable[Point], last: int, limit: int) -> dict[int, Point]:
    """Average points over at most `limit` equal ranges of steps. Return range number -> mean (step, value)."""
    length = range_length(last, limit)
    groups = defaultdict[int, list[Point]](list)
    for step, value in points:
        groups[max(int(step) - 1, 0) // length].append((step, value))
    return {
        number: (sum(step for step, _ in group) / len(group), sum(value for _, value in group) / len(group))
        for number, group in groups.items()
    }


def range_length(last: int, limit: int) -> int:
    return max(1, -(-last // limit))


def as_text(value: object) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return gettext("nested too deeply to be shown")


def _listed(value: Any) -> str:
    return ", ".join(map(as_text, value)) if isinstance(value, list) and value else as_text(value)


def as_texts(values: dict[str, Any]) -> dict[str, str]:
    return {name: as_text(entry) for name, entry in values.items()}


@overload
def aware(moment: datetime) -> datetime: ...
@overload
def aware(moment: datetime | None) -> datetime | None: ...
def aware(moment: datetime | None) -> datetime | None:
    """Interpret a time without a zone as UTC."""
    return moment.replace(tzinfo=UTC) if moment and not moment.tzinfo else moment
