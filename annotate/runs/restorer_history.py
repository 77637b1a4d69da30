"""The curve of a run that trains a restorer: of kind base, or tuned with a reward model (refl)."""

import math
from dataclasses import dataclass, field
from typing import Any

from annotate.charts.axes import Point
from annotate.runs.run_folders import Gold, Run, curve_lines, gold_of
from annotate.runs.untrusted_json import as_integer, as_object, as_text, checked, row_of

TERMS = {
    "reward": "reward",
    "lpips": "structure: LPIPS",
    "dwt": "structure: low wavelet frequencies",
    "reg": "regularization of the weights",
}
MOST_TERMS = 8
MOST_PROBLEMS = 5  # that are spelled out
MOST_ALARMS = 20  # between the first and the newest


def figure(value: float | None, *, digits: int = 4, signed: bool = False) -> str:
    if value is None:
        return "–"
    if value and abs(value) < 0.001:
        text = f"{value:{'+' if signed else ''}.2g}"
    elif abs(value) >= 10 ** (digits - 1):
        text = f"{value:{'+' if signed else ''},.0f}"
    else:
        text = f"{value:{'+' if signed else ''}.{digits}g}"
    return text.replace("-", "−")


@dataclass(frozen=True)
class Measure:
    name: str
    title: str
    higher_is_better: bool
    unit: str = ""

    @property
    def better(self) -> str:
        return "higher is better" if self.higher_is_better else "lower is better"


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("reward", "training reward", True),
        Measure("judge", "judge", True),
        Measure("sface", "SFace angle", False, "degrees"),
        Measure("lpips", "LPIPS", False),
        Measure("niqe", "NIQE", False),
        Measure("psnr", "PSNR", True, "dB"),
    )
}


@dataclass(frozen=True)
class Change:
    """Mean difference against the start, with its 95% interval."""

    mean: float
    low: float
    high: float

    def verdict(self, measure: Measure) -> str:
        if self.low <= 0 <= self.high:
            return "unclear"
        return "better" if (self.mean > 0) == measure.higher_is_better else "worse"


@dataclass(frozen=True)
class Evaluated:
    """What the restorer did on the fixed held-out faces."""

    step: int
    strength: float
    values: dict[str, float]
    changes: dict[str, Change]
    alarms: list[str]


@dataclass(frozen=True)
class Summary:
    """A measure at the first evaluation and at the newest."""

    measure: Measure
    start: float | None
    now: float
    change: Change | None

    @property
    def start_text(self) -> str:
        return figure(self.start)

    @property
    def now_text(self) -> str:
        return figure(self.now)

    @property
    def change_text(self) -> str:
        if not self.change:
            return "–"
        parts = (self.change.mean, self.change.low, self.change.high)
        mean, low, high = (figure(part, digits=3, signed=True) for part in parts)
        return f"{mean} ({low} to {high})"

    @property
    def is_rescored(self) -> bool:
        """The reward model moved: the change is not the difference of the two figures."""
        if self.measure.name != "reward" or self.start is None or not self.change:
            return False
        return not math.isclose(self.now - self.start, self.change.mean, rel_tol=0.01, abs_tol=1e-6)

    @property
    def verdict(self) -> str:
        return self.change.verdict(self.measure) if self.change else ""


@dataclass(frozen=True)
class History:
    """A step that was made again, after an interruption, counts as it was made last."""

    loss: list[Point] = field(default_factory=list)
    reward: list[Point] = field(default_factory=list)
    frm_loss: list[Point] = field(default_factory=list)
    values: dict[str, list[Point]] = field(default_factory=dict)  # of each term, without its weight
    gradients: dict[str, list[Point]] = field(default_factory=dict)  # norms, with the weight
    evaluations: list[Evaluated] = field(default_factory=list)
    gold: list[Gold] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def last_step(self) -> int:
        trained = [step for points in (self.loss, self.reward) for step, _ in points[-1:]]
        evaluated = [*(row.step for row in self.evaluations[-1:]), *(row.step for row in self.gold[-1:])]
        return int(max([*trained, *evaluated], default=0))

    @property
    def by_step(self) -> list[Evaluated]:
        """One evaluation a step: at the greatest strength, if there are several."""
        return list({row.step: row for row in self.evaluations}.values())

    @property
    def alarming(self) -> list[Evaluated]:
        """Newest first."""
        return [row for row in reversed(self.evaluations) if row.alarms]

    @property
    def alarming_steps(self) -> int:
        return len({row.step for row in self.alarming})

    @property
    def looks(self) -> int:
        """After the start, which cannot raise an alarm."""
        return sum(row.step > 0 for row in self.by_step)

    @property
    def told(self) -> list[Evaluated]:
        """The newest and the first alarm."""
        return self.alarming if len(self.alarming) < 3 else [self.alarming[0], self.alarming[-1]]

    @property
    def between(self) -> list[Evaluated]:
        return self.alarming[1:-1]

    @property
    def told_between(self) -> list[Evaluated]:
        return self.between[:MOST_ALARMS]

    @property
    def first_problems(self) -> list[str]:
        return self.problems[:MOST_PROBLEMS]

    @property
    def first(self) -> Evaluated | None:
        return self.by_step[0] if self.evaluations else None

    @property
    def newest(self) -> Evaluated | None:
        return self.by_step[-1] if self.evaluations else None

    @property
    def best_judged(self) -> Evaluated | None:
        """The look at which the judge was highest, if there were several; the earliest of equals."""
        rows = [row for row in self.by_step if "judge" in row.values]
        return max(rows, key=lambda row: row.values["judge"]) if len(rows) > 1 else None

    @property
    def best_judge_text(self) -> str:
        return figure(self.best_judged.values["judge"]) if self.best_judged else ""

    @property
    def summary(self) -> list[Summary]:
        first, newest = self.first, self.newest
        if not first or not newest:
            return []
        return [
            Summary(measure, first.values.get(name), newest.values[name], newest.changes.get(name))
            for name, measure in MEASURES.items()
            if name in newest.values
        ]


def history(run: Run) -> History:
    lines = curve_lines(run)
    training: dict[int, dict[str, Any]] = {}
    evaluations: dict[tuple[int, float], Evaluated] = {}
    gold: dict[int, Gold] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        row, where = row_of(line), f"line {number}"
        if row is None:
            if line.strip() and number < len(lines):
                problems.append(f"{where} is no JSON object")
            continue
        step = as_integer(row.get("step"))
        if step is None or step < 0:
            problems.append(f"{where} names no step")
        elif "gold" in row:
            gold[step] = _gold(step, row, where, problems)
        elif "held_out" in row:
            evaluated = _evaluated(step, row, where, problems)
            evaluations[step, evaluated.strength] = evaluated
        elif "loss" in row or "reward" in row:
            training[step] = _trained(row, where, problems)
        else:
            problems.append(f"{where} holds neither a loss nor an evaluation")
    rows = sorted(training.items())
    terms = [term for term in TERMS if any(term in row["values"] or term in row["gradients"] for _, row in rows)]
    others = {term for _, row in rows for term in (*row["values"], *row["gradients"])} - set(terms)
    terms = [*terms, *sorted(others)][:MOST_TERMS]

    def points(name: str, term: str = "") -> list[Point]:
        values = ((step, row[name].get(term) if term else row[name]) for step, row in rows)
        return [(step, value) for step, value in values if value is not None]

    return History(
        loss=points("loss"),
        reward=points("reward"),
        frm_loss=points("frm_loss"),
        values={term: found for term in terms if (found := points("values", term))},
        gradients={term: found for term in terms if (found := points("gradients", term))},
        evaluations=[evaluations[key] for key in sorted(evaluations)],
        gold=[gold[key] for key in sorted(gold)],
        problems=problems,
    )


def _trained(row: dict[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    terms = _object(row, "terms", where, problems)
    figures = {name: _object(terms, name, f"{where}, terms", problems) for name in terms}

    def each(figure: str) -> dict[str, float]:
        found = {name: checked(term, figure, f"{where}, term {name}", problems) for name, term in figures.items()}
        return {name: value for name, value in found.items() if value is not None}

    numbers = {name: checked(row, name, where, problems) for name in ("loss", "reward", "frm_loss")}
    return numbers | {"values": each("value"), "gradients": each("gradient")}


def _evaluated(step: int, row: dict[str, Any], where: str, problems: list[str]) -> Evaluated:
    values = _object(row, "held_out", where, problems)
    numbers = {name: checked(values, name, f"{where}, held_out", problems) for name in MEASURES}
    differences = _object(row, "against_start", where, problems)
    changes = {}
    for name in MEASURES:
        found = _object(differences, name, f"{where}, against_start", problems)
        mean, low, high = (
            checked(found, part, f"{where}, against_start, {name}", problems) for part in ("mean", "low", "high")
        )
        if mean is not None:
            changes[name] = Change(mean, mean if low is None else low, mean if high is None else high)
    alarms = row.get("alarms", [])
    if not isinstance(alarms, list):
        problems.append(f"{where}: “alarms” is no list")
        alarms = []
    strength = checked(row, "strength", where, problems)
    return Evaluated(
        step=step,
        strength=1.0 if strength is None else strength,
        values={name: value for name, value in numbers.items() if value is not None},
        changes=changes,
        alarms=[as_text(alarm) for alarm in alarms],
    )


def _gold(step: int, row: dict[str, Any], where: str, problems: list[str]) -> Gold:
    found = gold_of(step, row)
    for stratum in _object(row, "gold", where, problems):
        checked(as_object(row["gold"][stratum]), "agreement", f"{where}, gold, {stratum}", problems)
    return found


def _object(found: dict[str, Any], name: str, where: str, problems: list[str]) -> dict[str, Any]:
    """What may be absent or null; anything else than an object is a problem."""
    value = found.get(name)
    if value is not None and not isinstance(value, dict):
        problems.append(f"{where}: “{name}” is no object")
    return as_object(value)
