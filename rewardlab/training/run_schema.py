"""The JSON of a run folder: one schema for what writes it and what reads it.

Web processes read runs too, so nothing here loads torch.
"""

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from rewardlab.training.checked_json import Count, Figure, Unreadable, decode, decode_what_fits, read

VERSION = 1  # of the whole folder; config.json names it

State = Literal["running", "done", "failed", "stopped", "waiting"]
Unit = Literal["pairs", "images"]


class DataHeader(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The header of a manifest of preferences, or of a list of faces: what the run learned from."""

    sha256: str = ""
    rows: Count = 0
    faces: Count = 0
    created: datetime | None = None
    counts: dict[str, Count] = {}  # by split, in a manifest by split/origin
    filters: dict[str, Any] = {}
    consensus: dict[str, Any] | None = None
    predictor: dict[str, Any] | None = None


class Description(Struct, frozen=True, kw_only=True):
    """config.json: what a run is, written before its first step."""

    version: int = VERSION  # the folders of version 1 were at first written without it
    kind: str  # frm, base, refl or evaluation
    name: str = ""
    created: datetime
    config: dict[str, Any] = {}
    start: dict[str, str] = {}  # what it began from: a backbone or base, files, other runs
    images: str = ""
    manifest: DataHeader = field(default_factory=DataHeader)
    faces: DataHeader = field(default_factory=DataHeader)
    training_pairs: dict[str, Count] = {}  # that a reward model learns from, by origin of the label
    code: dict[str, str] = {}


class Status(Struct, frozen=True, kw_only=True):
    """status.json: how far a run is."""

    state: State
    step: Count = 0
    total: Count = 0
    updated: datetime | None = None
    error: str = ""
    rate: Figure | None = None  # units a second
    unit: Unit | None = None
    pairs_per_second: Figure | msgspec.UnsetType | None = msgspec.UNSET  # the rate, as it was called at first

    @property
    def units_per_second(self) -> float | None:
        return self.pairs_per_second or None if self.rate is None else self.rate


class BasePoint(Struct, frozen=True, kw_only=True):
    """A line of curve.jsonl: a step of the training of a base restorer."""

    step: Count
    loss: Figure | None = None
    rate: Figure | None = None


class FrmPoint(Struct, frozen=True, kw_only=True):
    """A step of the training of a reward model."""

    step: Count
    loss: Figure | None = None
    accuracy: dict[str, Figure | None] = {}  # by origin of the pairs
    data_wait: Figure | None = None  # share of the time


class Term(Struct, frozen=True):
    """A term of the loss, without its weight, and the norm of its gradient, with it."""

    value: Figure | None = None
    gradient: Figure | None = None


class ReflPoint(Struct, frozen=True, kw_only=True):
    """A step of a tuning with a reward model."""

    step: Count
    loss: Figure | None = None
    reward: Figure | None = None
    terms: dict[str, Term] | None = None
    frm_loss: Figure | None = None
    rate: Figure | None = None


class Agreement(Struct, frozen=True):
    """The share of a stratum's gold pairs on which a reward model agrees with the label."""

    agreement: Figure | None = None
    pairs: Count = 0


class GoldPoint(Struct, frozen=True, kw_only=True):
    """Agreement with the gold labels at a step, by stratum."""

    step: Count
    gold: dict[str, Agreement]


class Change(Struct, frozen=True):
    """A mean difference with its 95% interval."""

    mean: Figure | None = None
    low: Figure | None = None
    high: Figure | None = None


class HeldOutPoint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a restorer did on the held-out faces at a step. The start has no alarms and no difference against itself."""

    step: Count
    held_out: dict[str, Figure | None]
    against_start: dict[str, Change] | None = None
    alarms: list[str] | None = None
    strength: Figure | None = None


TrainingPoint = FrmPoint | BasePoint | ReflPoint
Point = TrainingPoint | GoldPoint | HeldOutPoint
TRAINING_POINTS: dict[str, type[TrainingPoint]] = {"frm": FrmPoint, "base": BasePoint, "refl": ReflPoint}


class _Keys(Struct):
    """Which kind of point a line is."""

    gold: Any = msgspec.UNSET
    held_out: Any = msgspec.UNSET


class _Versioned(Struct):
    version: int = VERSION


class _Step(Struct):
    step: Count


def read_description(folder: Path) -> Description:
    """Read config.json. Raises `Unreadable`, for a run of another version too."""
    found = read(folder / "config.json", _Versioned)  # before all else: another version may have other keys
    if found.version != VERSION:
        raise Unreadable(
            f"config.json is of version {found.version}, and this program reads version {VERSION}: update the program "
            "to read this run"
        )
    return read(folder / "config.json", Description)


def read_status(folder: Path) -> Status:
    """Read status.json. Raises `Unreadable`."""
    return read(folder / "status.json", Status)


def decode_point(line: bytes, kind: str, where: str, problems: list[str]) -> Point | None:
    """Decode a line of the curve of a run of this kind; the figures that do not fit are described in `problems`.

    None: nothing of it can be used.
    """
    keys = decode_what_fits(line, _Keys, where, problems)
    if keys is None:
        return None
    if keys.gold is not msgspec.UNSET:
        return decode_what_fits(line, GoldPoint, where, problems)
    if keys.held_out is not msgspec.UNSET:
        return decode_what_fits(line, HeldOutPoint, where, problems)
    return decode_what_fits(line, TRAINING_POINTS.get(kind, FrmPoint), where, problems)


def step_of(line: bytes) -> int:
    """The step of a line of a curve, whatever else it says. Raises `Unreadable`."""
    return decode(line, _Step, "the line").step
