"""Schema of the JSON files in a run folder, for writing and reading.

Web processes import this module, so it must not load torch.
"""

from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from rewardlab.training.checked_json import Count, Figure, Unreadable, decode, decode_what_fits, read

VERSION = 1  # of the run folder, stored in config.json

State = Literal["running", "done", "failed", "stopped", "waiting"]
Unit = Literal["pairs", "images"]


class DataHeader(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Header of the manifest or list of faces that the run was trained on."""

    sha256: str = ""
    rows: Count = 0
    faces: Count = 0
    created: datetime | None = None
    counts: dict[str, Count] = {}  # by split, in a manifest by split/origin
    filters: dict[str, Any] = {}
    consensus: dict[str, Any] | None = None
    predictor: dict[str, Any] | None = None


class Description(Struct, frozen=True, kw_only=True):
    """config.json: the description of a run, written before its first step."""

    version: int = VERSION  # early folders of version 1 lack it
    kind: str  # frm, base, refl or evaluation
    name: str = ""
    created: datetime
    config: dict[str, Any] = {}
    start: dict[str, str] = {}  # initial model: names and hashes of a backbone or base, files, other runs
    images: str = ""  # in early folders, the image folder of the machine that created the run
    manifest: DataHeader = field(default_factory=DataHeader)
    faces: DataHeader = field(default_factory=DataHeader)
    training_pairs: dict[str, Count] = {}  # training pairs of a reward model, by label origin
    code: dict[str, str] = {}


class Cost(Struct, frozen=True, kw_only=True):
    """What a training has cost so far, over all its starts. device, devices: of the last start."""

    seconds: Figure | None = None
    device_hours: Figure | None = None  # hours times devices: GPU hours on a GPU
    devices: Count = 1
    device: str = ""
    peak_memory: Count | None = None  # bytes, of the main process

    @property
    def is_gpu(self) -> bool:
        return bool(self.device) and not self.device.startswith("CPU")


class Status(Struct, frozen=True, kw_only=True):
    """status.json: the progress of a run."""

    state: State
    step: Count = 0
    total: Count = 0
    updated: datetime | None = None
    error: str = ""
    rate: Figure | None = None  # units per second
    unit: Unit | None = None
    cost: Cost | None = None  # missing in runs of versions before 0.4, and in evaluations
    pairs_per_second: Figure | msgspec.UnsetType | None = msgspec.UNSET  # the rate in early folders

    @property
    def units_per_second(self) -> float | None:
        return self.pairs_per_second or None if self.rate is None else self.rate


class BasePoint(Struct, frozen=True, kw_only=True):
    """A line of curve.jsonl: a training step of a base restorer. time: when it was written, missing in older runs."""

    step: Count
    time: datetime | None = None
    loss: Figure | None = None
    rate: Figure | None = None


class FrmPoint(Struct, frozen=True, kw_only=True):
    """A training step of a reward model."""

    step: Count
    time: datetime | None = None
    loss: Figure | None = None
    accuracy: dict[str, Figure | None] = {}  # by origin of the pairs
    data_wait: Figure | None = None  # share of the time


class Term(Struct, frozen=True):
    """A term of the loss: its unweighted value, and the norm of its weighted gradient."""

    value: Figure | None = None
    gradient: Figure | None = None


class ReflPoint(Struct, frozen=True, kw_only=True):
    """A step of tuning with a reward model."""

    step: Count
    time: datetime | None = None
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
    time: datetime | None = None
    gold: dict[str, Agreement]


class Change(Struct, frozen=True):
    """A mean difference with its 95% interval."""

    mean: Figure | None = None
    low: Figure | None = None
    high: Figure | None = None


class HeldOutPoint(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Metrics of a restorer on the held-out faces at a step. Step 0 has no alarms and no difference from the start."""

    step: Count
    time: datetime | None = None
    held_out: dict[str, Figure | None]
    against_start: dict[str, Change] | None = None
    alarms: list[str] | None = None
    strength: Figure | None = None


TrainingPoint = FrmPoint | BasePoint | ReflPoint
Point = TrainingPoint | GoldPoint | HeldOutPoint
TRAINING_POINTS: dict[str, type[TrainingPoint]] = {"frm": FrmPoint, "base": BasePoint, "refl": ReflPoint}


class _Keys(Struct):
    """The keys that tell kinds of points apart."""

    gold: Any = msgspec.UNSET
    held_out: Any = msgspec.UNSET


class _Versioned(Struct):
    version: int = VERSION


class _Step(Struct):
    step: Count


def read_description(folder: Path) -> Description:
    """Read config.json. Raises `Unreadable`, for a run of another version too."""
    found = read(folder / "config.json", _Versioned)  # first, since another version may have other keys
    if found.version != VERSION:
        raise Unreadable(
            f"config.json has version {found.version}, but this program reads version {VERSION}: update the program to "
            "read this run"
        )
    return read(folder / "config.json", Description)


def read_status(folder: Path) -> Status:
    """Read status.json. Raises `Unreadable`."""
    return read(folder / "status.json", Status)


def decode_point(line: bytes, kind: str, where: str, problems: list[str]) -> Point | None:
    """Decode a line of the curve of a run of this kind; values that do not match are described in `problems`.

    Returns None if nothing in the line is usable.
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
    """Return the step of a line of a curve and ignore all else. Raises `Unreadable`."""
    return decode(line, _Step, "the line").step
