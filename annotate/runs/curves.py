"""The curves of a run by quantity, for comparisons of runs of any kind."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from math import nan
from pathlib import Path

import numpy as np
from django.utils.translation import gettext

from annotate.charts.smoothing import Column
from annotate.common.stored_text import translated
from annotate.runs.restorer_history import MEASURES, term_title
from annotate.runs.run_folders import KINDS, ORIGINS, STRATA, RunFolder, aware, lines_of, origin_title, pairs_title
from rewardlab.training.run_schema import BasePoint, FrmPoint, GoldPoint, HeldOutPoint, Point, ReflPoint, decode_point

CURVED = ("frm", "base", "refl")  # kinds of runs that write a curve


@dataclass(frozen=True)
class Quantity:
    """What a curve shows. key: the same for curves that can lie in one plot; rank: the order on the page.

    noisy: one value per training step, which can be smoothed. better: 1, −1, or 0 if neither direction is better.
    """

    key: str
    rank: tuple[int, int]
    title: str
    noisy: bool = False
    share: bool = False
    better: int = 0
    of_terms: bool = False

    @property
    def better_text(self) -> str:
        return {1: gettext("higher is better"), -1: gettext("lower is better"), 0: ""}[self.better]


@dataclass(frozen=True)
class Curve:
    """Ascending steps; a value is NaN if it was written but is not a finite number. seconds: since the run was
    created, NaN if the time was not recorded."""

    steps: Column
    values: Column
    seconds: Column


@dataclass(frozen=True)
class Curves:
    """The curves of a run by the key of their quantity. If a step was repeated, its last value counts."""

    quantities: dict[str, Quantity] = field(default_factory=dict)
    by_key: dict[str, Curve] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def curves(run: RunFolder) -> Curves:
    """Read the curves of a run. Values that cannot be read are described as problems."""
    if run.problem or run.kind not in CURVED:
        return Curves()
    try:
        found = (run.folder / "curve.jsonl").stat()
    except OSError:
        return Curves()
    by_key, problems = _read(run.folder, run.kind, run.created, found.st_mtime_ns, found.st_size)
    return Curves({key: describe(key) for key in by_key}, by_key, list(map(translated, problems)))


@lru_cache(maxsize=8)
def _read(
    folder: Path, kind: str, created: datetime, changed: int, size: int
) -> tuple[dict[str, Curve], tuple[str, ...]]:
    """changed, size: of the file, so that a curve that has grown is read again."""
    lines = lines_of(folder)
    found: dict[str, dict[int, tuple[float, float, float]]] = defaultdict(dict)
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        here: list[str] = []
        point = decode_point(line, kind, f"line {number}", here) if line.strip() else None
        if point is None and number == len(lines):
            continue  # it may still be incomplete
        problems += here
        if point is None:
            continue
        moment = aware(point.time)
        seconds = nan if moment is None else (moment - created).total_seconds()
        strength = (point.strength or 0.0) if isinstance(point, HeldOutPoint) else 0.0
        for key, value in _values(kind, point, malformed=bool(here)):
            known = found[key].get(point.step)
            if known is None or strength >= known[2]:  # the greatest strength of an evaluation
                found[key][point.step] = nan if value is None else value, seconds, strength
    return {key: _curve(points) for key, points in found.items()}, tuple(problems)


def _curve(points: dict[int, tuple[float, float, float]]) -> Curve:
    steps = np.array(sorted(points), dtype=float)
    columns = np.array([points[int(step)][:2] for step in steps])
    return Curve(steps, columns[:, 0], columns[:, 1])


def _values(kind: str, point: Point, *, malformed: bool) -> Iterator[tuple[str, float | None]]:
    """Yield the values of a point by key. malformed: some value of the line is not what it should be."""
    if isinstance(point, GoldPoint):
        for stratum in STRATA:
            found = point.gold.get(stratum)
            if found and found.agreement is not None:
                yield f"gold-{stratum}", found.agreement
    elif isinstance(point, HeldOutPoint):
        for name in MEASURES:
            if (value := point.held_out.get(name)) is not None:
                yield f"held_out-{name}", value
    else:
        if point.loss is not None or malformed:
            yield f"loss-{kind}", point.loss
        if isinstance(point, FrmPoint):
            yield from (
                (f"accuracy-{name}", share) for name in ORIGINS if (share := point.accuracy.get(name)) is not None
            )
        if isinstance(point, ReflPoint):
            yield from _values_of_tuning(point, malformed=malformed)
        if isinstance(point, BasePoint | ReflPoint) and point.rate is not None:
            yield "rate", point.rate


def _values_of_tuning(point: ReflPoint, *, malformed: bool) -> Iterator[tuple[str, float | None]]:
    if point.reward is not None or malformed:
        yield "reward", point.reward
    if point.frm_loss is not None:
        yield "frm_loss", point.frm_loss
    for name, term in (point.terms or {}).items():
        yield f"term-{name}", term.value
        yield f"gradient-{name}", term.gradient


def describe(key: str) -> Quantity:
    """Describe the quantity of a key."""
    what, _, name = key.partition("-")
    if what == "held_out":
        measure = MEASURES[name]
        title = f"{measure.title}, {measure.unit}" if measure.unit else measure.title
        title = gettext("Held-out faces: %(measure)s") % {"measure": title}
        return Quantity(key, (0, list(MEASURES).index(name)), title, better=1 if measure.higher_is_better else -1)
    if what == "gold":
        title = gettext("Agreement with the gold labels, %(pairs)s") % {"pairs": pairs_title(name)}
        return Quantity(key, (1, STRATA.index(name)), title, share=True, better=1)
    if what == "accuracy":
        title = gettext("Pair accuracy in training, %(origin)s") % {"origin": origin_title(name)}
        return Quantity(key, (3, list(ORIGINS).index(name)), title, noisy=True, share=True, better=1)
    if what in ("term", "gradient"):
        title = gettext("%(term)s, value") if what == "term" else gettext("%(term)s, gradient")
        title = title % {"term": term_title(name)}
        return Quantity(key, (5, what == "gradient"), title, noisy=True, of_terms=True)
    if what == "loss":
        title = gettext("Loss, %(kind)s") % {"kind": gettext(KINDS[name])}
        return Quantity(key, (2, list(KINDS).index(name)), title, noisy=True, better=-1)
    titles = {
        "reward": Quantity(key, (2, -1), gettext("Reward of the batch"), noisy=True, better=1),
        "frm_loss": Quantity(key, (4, 0), gettext("Loss of the update"), noisy=True, better=-1),
        "rate": Quantity(key, (4, 1), gettext("Images per second"), noisy=True, better=1),
    }
    return titles[what]
