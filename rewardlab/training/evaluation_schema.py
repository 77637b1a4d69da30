"""Schema of evaluation/results.json in a run folder: the results of `evaluate_frm` and `evaluate`.

Web processes import this module, so it must not load torch. Every value has a default, so that a page can show
incomplete results.
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct, field

from rewardlab.training.checked_json import Count, Figure


class GoldFacts(Struct, frozen=True, kw_only=True):
    """The gold set that a reward model was evaluated on: numbers of faces and pairs."""

    faces: Count | None = None
    contested: Count | None = None
    decided: Count | None = None
    anchored: Count | None = None
    simulated: bool = False  # whether simulated annotators gave the labels
    sha256: str = ""


class AgreementOfPeople(Struct, frozen=True, kw_only=True):
    """A share of comparisons with its 95% interval."""

    value: Figure | None = None
    low: Figure | None = None
    high: Figure | None = None
    comparisons: Count = 0


class People(Struct, frozen=True, kw_only=True):
    two_agree: AgreementOfPeople | None = None
    one_against_rest: AgreementOfPeople | None = None
    frm_against_one: AgreementOfPeople | None = None


class FrmRow(Struct, frozen=True, kw_only=True):
    """A method on one stratum of the gold set, as in `rewardlab.evaluation.tables.ResultRow`."""

    name: str = ""
    title: str = ""
    group: str = ""
    stratum: str = ""
    agreement: Figure | None = None
    low: Figure | None = None
    high: Figure | None = None
    pairs: Count = 0
    mcnemar_p: Figure | None = None
    better: Count | None = None
    worse: Count | None = None
    paper: Figure | None = None
    paper_where: str = ""
    note: str = ""


class CalibrationBin(Struct, frozen=True, kw_only=True):
    predicted: Figure | None = None
    observed: Figure | None = None
    pairs: Count = 0


class CalibrationFigures(Struct, frozen=True, kw_only=True):
    bins: list[CalibrationBin] = []
    ece: Figure | None = None
    brier: Figure | None = None
    log_loss: Figure | None = None


class FrmResults(Struct, frozen=True, kw_only=True):
    """Results of `evaluate_frm`."""

    run: str = ""
    created: datetime | None = None
    gold: GoldFacts = field(default_factory=GoldFacts)
    people: People | None = None
    rows: list[FrmRow] = []
    calibration: CalibrationFigures | None = None
    code: dict[str, str] = {}


class EvaluatedFaces(Struct, frozen=True, kw_only=True):
    split: str = ""
    dataset: str = ""  # empty: all
    has_originals: bool = True  # whether there are photographs to compare with
    count: Count = 0
    # Faces that were left out because they monitored a training. Format 1 uses the names given here.
    monitored_left_out: Count = field(default=0, name="watched_out")
    with_monitored: bool = field(default=False, name="with_watched")
    sha256: str = ""


class MetricColumn(Struct, frozen=True, kw_only=True):
    name: str = ""
    title: str = ""
    higher_is_better: bool | None = None
    digits: Count | None = None
    trained_on: bool = False
    note: str | None = None


class Estimate(Struct, frozen=True, kw_only=True):
    """A mean over n faces with its 95% interval."""

    mean: Figure | None = None
    low: Figure | None = None
    high: Figure | None = None
    n: Count | None = None


class Difference(Struct, frozen=True, kw_only=True):
    """A restorer minus the base, on the same faces."""

    mean: Figure | None = None
    low: Figure | None = None
    high: Figure | None = None
    verdict: Literal["better", "worse", "unclear"] | None = None


class RestorerRow(Struct, frozen=True, kw_only=True):
    restorer: str = ""
    title: str = ""
    values: dict[str, Estimate | None] = {}  # by the name of the metric
    against_base: dict[str, Difference | None] = {}


class PictureNames(Struct, frozen=True, kw_only=True):
    faces: list[str] = []
    columns: list[str] = []


class ComparisonResults(Struct, frozen=True, kw_only=True):
    """Results of `evaluate`: restorers by metrics."""

    created: datetime | None = None
    faces: EvaluatedFaces = field(default_factory=EvaluatedFaces)
    base: str | None = None
    simulated: bool | None = None  # whether a reward model learned from simulated labels
    frm: dict[str, str | None] = {}  # runs of reward models, by their role
    metrics: list[MetricColumn] = []
    rows: list[RestorerRow] = []
    unavailable: dict[str, str] = {}
    pictures: PictureNames = field(default_factory=PictureNames)
    code: dict[str, str] = {}
