"""The newest figures of a run, for the list of runs: from the end of its curve, and the looks that raised alarms."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from annotate.runs.restorer_comparison import comparison
from annotate.runs.restorer_history import MEASURES
from annotate.runs.run_folders import Run, curve_lines
from annotate.runs.untrusted_json import as_integer, as_number, as_object, row_of


@dataclass(frozen=True)
class Figure:
    name: str
    text: str
    simulated: bool = False
    warns: bool = False


def figures(run: Run) -> list[Figure]:
    return list(_figures(run)) if not run.problem else []


def _figures(run: Run) -> Iterator[Figure]:
    if run.kind == "evaluation":
        found = comparison(run)
        if found and not found.problem:
            yield Figure("restorers", f"{len(found.rows):,}")
            yield Figure("metrics", f"{len(found.metrics):,}", found.simulated)
            yield Figure("faces", f"{found.faces:,}")
        return
    lines = curve_lines(run)
    loss = _newest(lines, b'"loss"', lambda row: as_number(row.get("loss")))
    reward = _newest(lines, b'"reward"', lambda row: as_number(row.get("reward"))) if run.kind == "refl" else None
    if reward is not None:
        yield Figure("reward", f"{reward:.3f}".replace("-", "−"))
    if loss is not None:
        yield Figure("loss", f"{loss:.3f}")
    if run.kind in ("base", "refl"):
        evaluated = _newest(lines, b'"held_out"', lambda row: row if "held_out" in row else None) or {}
        held_out = as_object(evaluated.get("held_out"))
        for name in ("judge", "sface") if run.kind == "refl" else ("lpips", "psnr"):
            if (value := as_number(held_out.get(name))) is not None:
                yield Figure(MEASURES[name].title, f"{value:.3g} {MEASURES[name].unit}".strip().replace("-", "−"))
        alarming, looks = _alarming(lines)
        if alarming:
            yield Figure("alarms", f"at {alarming:,} of {looks:,} look{'s' if looks > 1 else ''}", warns=True)
    agreement = _newest(lines, b'"gold"', _agreement)
    if agreement is not None:
        yield Figure("gold agreement", f"{agreement:.0%}", run.snapshot.gold_simulated)


def _alarming(lines: list[bytes]) -> tuple[int, int]:
    """At how many looks after the start there was an alarm, and how many there were."""
    looks: dict[tuple[int, float | None], bool] = {}  # by step and strength, the last time that each was made
    for row in (row_of(line) for line in lines if b'"held_out"' in line):
        step = as_integer(row.get("step")) if row else None
        if row and "held_out" in row and step and step > 0:
            alarms = row.get("alarms")
            looks[step, as_number(row.get("strength"))] = isinstance(alarms, list) and bool(alarms)
    return len({step for (step, _), alarmed in looks.items() if alarmed}), len({step for step, _ in looks})


def _agreement(row: dict[str, Any]) -> float | None:
    """On contested pairs."""
    return as_number(as_object(as_object(row.get("gold")).get("contested")).get("agreement"))


def _newest(lines: list[bytes], word: bytes, value_of: Callable[[dict[str, Any]], Any]) -> Any:
    rows = (row_of(line) for line in reversed(lines) if word in line)
    return next((value for row in rows if row and (value := value_of(row)) is not None), None)
