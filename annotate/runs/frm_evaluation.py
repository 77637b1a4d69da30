"""Results of `evaluate_frm`, read from a run's folder."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from django.utils.translation import gettext

from annotate.common.stored_text import translated, translated_notes
from annotate.runs.pictures import file_in
from annotate.runs.run_folders import STRATA, RunFolder, aware
from rewardlab.training.checked_json import Unreadable, read_what_fits
from rewardlab.training.evaluation_schema import (
    AgreementOfPeople,
    CalibrationFigures,
    FrmResults,
    FrmRow,
    GoldFacts,
    People,
)

DOWNLOADS = {"table.csv": "text/csv", "table.md": "text/markdown", "table.tex": "application/x-tex"}


@dataclass(frozen=True)
class Share:
    """A share, its 95% interval if it has one, and its number of comparisons."""

    value: float
    low: float | None
    high: float | None
    count: int

    @property
    def ends(self) -> tuple[float, float]:
        """The interval's ends in a plot; both are the value if there is no interval."""
        if self.low is None or self.high is None:
            return self.value, self.value
        return self.low, self.high

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return f"{self.value:.1%}"
        return gettext("%(value)s (%(low)s to %(high)s)") % {
            "value": f"{self.value:.1%}",
            "low": f"{100 * self.low:.1f}",
            "high": f"{100 * self.high:.1f}",
        }


@dataclass(frozen=True)
class MethodRow:
    """A method on one stratum of the gold set.

    better: number of pairs on which only this method is right, not the FRM; worse: the reverse.
    """

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
    def stratum_title(self) -> str:
        return translated(self.stratum)

    @property
    def paper_place(self) -> str:
        return translated(self.paper_where)

    @property
    def paper_figure(self) -> str:
        return "" if self.paper is None else f"{self.paper:.2%}"


@dataclass(frozen=True)
class CalibrationPoint:
    predicted: float
    observed: float
    pairs: int


@dataclass(frozen=True)
class CalibrationCurve:
    bins: list[CalibrationPoint]
    ece: float | None
    brier: float | None
    log_loss: float | None


@dataclass(frozen=True)
class FrmEvaluation:
    problem: str = ""
    created: datetime | None = None
    gold: GoldFacts = field(default_factory=GoldFacts)
    two_agree: Share | None = None
    one_against_rest: Share | None = None
    frm_against_one: Share | None = None
    rows: list[MethodRow] = field(default_factory=list)
    calibration: CalibrationCurve | None = None
    downloads: list[str] = field(default_factory=list)

    @property
    def simulated(self) -> bool:
        return self.gold.simulated

    @property
    def strata(self) -> list[tuple[str, list[MethodRow]]]:
        found = [(stratum, [row for row in self.rows if row.stratum == stratum]) for stratum in STRATA]
        return [(stratum, rows) for stratum, rows in found if rows]


def evaluation(run: RunFolder) -> FrmEvaluation | None:
    """Read the evaluation of a run; None if it has not been evaluated."""
    path = run.folder / "evaluation" / "results.json"
    if not path.exists():
        return None
    downloads = downloads_of(run)
    try:
        results = read_what_fits(path, FrmResults, [])
    except Unreadable as unreadable:
        return FrmEvaluation(problem=translated(str(unreadable)), downloads=downloads)
    people = results.people or People()
    return FrmEvaluation(
        created=aware(results.created),
        gold=results.gold,
        two_agree=_share_of_people(people.two_agree),
        one_against_rest=_share_of_people(people.one_against_rest),
        frm_against_one=_share_of_people(people.frm_against_one),
        rows=[_evaluated(row) for row in results.rows],
        calibration=_calibration(results.calibration) if results.calibration else None,
        downloads=downloads,
    )


def download(run: RunFolder, name: str) -> Path | None:
    """Return the path of a table of the evaluation; None if it does not exist or is not one of `DOWNLOADS`."""
    return file_in(run.folder, f"evaluation/{name}") if name in DOWNLOADS else None


def downloads_of(run: RunFolder) -> list[str]:
    return [name for name in DOWNLOADS if download(run, name)]


def _evaluated(row: FrmRow) -> MethodRow:
    return MethodRow(
        name=row.name,
        title=translated(row.title or row.name) or gettext("unnamed"),
        group=row.group,
        stratum=row.stratum,
        share=_share(row.agreement, row.low, row.high, row.pairs),
        mcnemar_p=row.mcnemar_p,
        better=row.better,
        worse=row.worse,
        paper=row.paper,
        paper_where=row.paper_where,
        note=translated_notes(row.note),
    )


def _share(value: float | None, low: float | None, high: float | None, count: int) -> Share | None:
    if value is None:
        return None
    whole = low is not None and high is not None and low < high
    return Share(value, low if whole else None, high if whole else None, count)


def _share_of_people(found: AgreementOfPeople | None) -> Share | None:
    return _share(found.value, found.low, found.high, found.comparisons) if found else None


def _calibration(found: CalibrationFigures) -> CalibrationCurve:
    bins = [
        CalibrationPoint(each.predicted, each.observed, each.pairs)
        for each in found.bins
        if each.predicted is not None and each.observed is not None
    ]
    return CalibrationCurve(bins=bins, ece=found.ece, brier=found.brier, log_loss=found.log_loss)
