"""Newest figures of a run for the list of runs: the last values of its curve and its number of alarms."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, ngettext

from annotate.runs.restorer_comparison import comparison
from annotate.runs.restorer_history import MEASURES
from annotate.runs.run_folders import RunFolder, curve_lines
from rewardlab.training.run_schema import GoldPoint, HeldOutPoint, Point, decode_point


@dataclass(frozen=True)
class Figure:
    name: str
    text: str
    simulated: bool = False
    warns: bool = False


def figures(run: RunFolder) -> list[Figure]:
    """Return the newest figures of a run; none if it is unreadable."""
    return list(_figures(run)) if not run.problem else []


def _figures(run: RunFolder) -> Iterator[Figure]:
    if run.kind == "evaluation":
        found = comparison(run)
        if found and not found.problem:
            yield Figure(gettext("restorers"), f"{len(found.rows):,}")
            yield Figure(gettext("metrics"), f"{len(found.metrics):,}", found.simulated)
            yield Figure(gettext("faces"), f"{found.faces:,}")
        return
    lines = curve_lines(run)
    loss = _newest(lines, b'"loss"', lambda point: getattr(point, "loss", None))
    reward = _newest(lines, b'"reward"', lambda point: getattr(point, "reward", None)) if run.kind == "refl" else None
    if reward is not None:
        yield Figure(gettext("reward"), f"{reward:.3f}".replace("-", "−"))
    if loss is not None:
        yield Figure(gettext("loss"), f"{loss:.3f}")
    if run.kind in ("base", "refl"):
        held_out = _newest(lines, b'"held_out"', lambda point: getattr(point, "held_out", None)) or {}
        for name in ("judge", "sface") if run.kind == "refl" else ("lpips", "psnr"):
            if (value := held_out.get(name)) is not None:
                yield Figure(MEASURES[name].title, f"{value:.3g} {MEASURES[name].unit}".strip().replace("-", "−"))
        alarming, evaluations = _count_alarms(lines)
        if alarming:
            text = ngettext("at %(n)s of %(total)s evaluation", "at %(n)s of %(total)s evaluations", evaluations)
            counts = {"n": f"{alarming:,}", "total": f"{evaluations:,}"}
            yield Figure(gettext("alarms"), text % counts, warns=True)
    agreement = _newest(lines, b'"gold"', _agreement)
    if agreement is not None:
        yield Figure(gettext("gold agreement"), f"{agreement:.0%}", run.snapshot.gold_simulated)


def _count_alarms(lines: list[bytes]) -> tuple[int, int]:
    """Count evaluations with an alarm, and all evaluations, after the initial one."""
    evaluations: dict[
        tuple[int, float | None], bool
    ] = {}  # by step and strength; a repeated one replaces the earlier one
    for point in (_point(line) for line in lines if b'"held_out"' in line):
        if isinstance(point, HeldOutPoint) and point.step > 0:
            evaluations[point.step, point.strength] = bool(point.alarms)
    return len({step for (step, _), alarmed in evaluations.items() if alarmed}), len({step for step, _ in evaluations})


def _agreement(point: Point) -> float | None:
    """Return the agreement on contested pairs."""
    found = point.gold.get("contested") if isinstance(point, GoldPoint) else None
    return found.agreement if found else None


def _point(line: bytes) -> Point | None:
    """Decode a point of any kind of run. A tuning's schema has all the figures shown here."""
    return decode_point(line, "refl", "", [])


def _newest(lines: list[bytes], word: bytes, value_of: Callable[[Point], Any]) -> Any:
    points = (_point(line) for line in reversed(lines) if word in line)
    return next((value for point in points if point and (value := value_of(point)) is not None), None)
