"""What `evaluate_frm` found, read from a run's folder."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from annotate.runs.run_folders import STRATA, Run
from annotate.runs.untrusted_json import (
    Unreadable,
    as_count,
    as_integer,
    as_number,
    as_object,
    as_objects,
    as_text,
    as_time,
    file_in,
    read,
)

DOWNLOADS = {"table.csv": "text/csv", "table.md": "text/markdown", "table.tex": "application/x-tex"}


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
    """A method on one stratum of the gold set. `better`: pairs that it alone has right, the FRM not."""

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
    downloads = downloads_of(run)
    try:
        results = read(path)
    except Unreadable as unreadable:
        return Evaluation(problem=str(unreadable), downloads=downloads)
    people = as_object(results.get("people"))
    return Evaluation(
        created=as_time(results.get("created")),
        gold={name: value for name, value in as_object(results.get("gold")).items() if value is not None},
        two_agree=_share(people.get("two_agree"), "value", "comparisons"),
        one_against_rest=_share(people.get("one_against_rest"), "value", "comparisons"),
        frm_against_one=_share(people.get("frm_against_one"), "value", "comparisons"),
        rows=[_evaluated(row) for row in as_objects(results.get("rows"))],
        calibration=_calibration(results.get("calibration")),
        downloads=downloads,
    )


def download(run: Run, name: str) -> Path | None:
    """The path of one of the evaluation's tables, if it is one and is there."""
    return file_in(run.folder, f"evaluation/{name}") if name in DOWNLOADS else None


def downloads_of(run: Run) -> list[str]:
    return [name for name in DOWNLOADS if download(run, name)]


def _evaluated(row: dict[str, Any]) -> Row:
    return Row(
        name=as_text(row.get("name", "")),
        title=as_text(row.get("title") or row.get("name") or "unnamed"),
        group=as_text(row.get("group", "")),
        stratum=as_text(row.get("stratum", "")),
        share=_share(row, "agreement", "pairs"),
        mcnemar_p=as_number(row.get("mcnemar_p")),
        better=as_integer(row.get("better")),
        worse=as_integer(row.get("worse")),
        paper=as_number(row.get("paper")),
        paper_where=as_text(row.get("paper_where", "")),
        note=as_text(row.get("note", "")),
    )


def _share(value: Any, key: str, count: str) -> Share | None:
    found = as_object(value)
    share, low, high = (as_number(found.get(name)) for name in (key, "low", "high"))
    if share is None:
        return None
    return Share(share, share if low is None else low, share if high is None else high, as_count(found.get(count)))


def _calibration(value: Any) -> Calibration | None:
    if not value:
        return None
    found = as_object(value)
    bins = [
        Bin(predicted, observed, as_count(row.get("pairs")))
        for row in as_objects(found.get("bins"))
        if (predicted := as_number(row.get("predicted"))) is not None
        and (observed := as_number(row.get("observed"))) is not None
    ]
    ece, brier, log_loss = (as_number(found.get(name)) for name in ("ece", "brier", "log_loss"))
    return Calibration(bins=bins, ece=ece, brier=brier, log_loss=log_loss)
