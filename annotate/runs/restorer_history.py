"""Training curve of a restorer: of a base (base) or of a tuning with a reward model (refl)."""

import math
from collections import defaultdict
from dataclasses import dataclass, field

from django.utils.translation import gettext, gettext_noop, ngettext

from annotate.charts.axes import Point
from annotate.common.stored_text import translated
from annotate.runs.run_folders import GoldAgreement, RunFolder, curve_lines, gold_of
from rewardlab.bootstrap import verdict
from rewardlab.training import run_schema
from rewardlab.training.run_schema import GoldPoint, HeldOutPoint, ReflPoint

TERMS = {
    "reward": gettext_noop("reward"),
    "lpips": gettext_noop("structure: LPIPS"),
    "dwt": gettext_noop("structure: low wavelet frequencies"),
    "reg": gettext_noop("regularisation of the weights"),
}
MAX_TERMS = 8
MAX_PROBLEMS = 5  # shown on the page
MAX_ALARMS = 20  # shown between the first and the newest


def figure(value: float | None, *, digits: int = 4, signed: bool = False) -> str:
    """Format a value with `digits` significant digits; “–” for None."""
    if value is None:
        return "–"
    if value and abs(value) < 0.001:
        text = f"{value:{'+' if signed else ''}.2g}"
    elif abs(value) >= 10 ** (digits - 1):
        text = f"{value:{'+' if signed else ''},.0f}"
    else:
        text = f"{value:{'+' if signed else ''}.{digits}g}"
    return text.replace("-", "−")


def term_title(term: str) -> str:
    return gettext(TERMS[term]) if term in TERMS else term


@dataclass(frozen=True)
class Measure:
    name: str
    english_title: str
    higher_is_better: bool
    english_unit: str = ""

    @property
    def title(self) -> str:
        return gettext(self.english_title)

    @property
    def unit(self) -> str:
        return gettext(self.english_unit) if self.english_unit else ""

    @property
    def better(self) -> str:
        return gettext("higher is better") if self.higher_is_better else gettext("lower is better")


MEASURES = {
    measure.name: measure
    for measure in (
        Measure("reward", gettext_noop("training reward"), True),
        Measure("judge", gettext_noop("judge"), True),
        Measure("sface", gettext_noop("SFace angle"), False, gettext_noop("degrees")),
        Measure("lpips", gettext_noop("LPIPS"), False),
        Measure("niqe", gettext_noop("NIQE"), False),
        Measure("psnr", gettext_noop("PSNR"), True, gettext_noop("dB")),
    )
}


@dataclass(frozen=True)
class Change:
    """Mean difference against the initial evaluation, with its 95% interval if there are enough faces."""

    mean: float
    low: float | None
    high: float | None

    def verdict(self, measure: Measure) -> str:
        return verdict(self.low, self.high, higher_is_better=measure.higher_is_better)


@dataclass(frozen=True)
class HeldOutEvaluation:
    """Measures of the restorer on the fixed held-out faces at one step and strength."""

    step: int
    strength: float
    values: dict[str, float]
    changes: dict[str, Change]
    alarms: list[str]


@dataclass(frozen=True)
class Summary:
    """A measure at the first and at the newest evaluation."""

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
        if self.change.low is None:
            return mean
        return gettext("%(value)s (%(low)s to %(high)s)") % {"value": mean, "low": low, "high": high}

    @property
    def is_rescored(self) -> bool:
        """Whether the reward model was updated since, so that the change is not the difference of both values."""
        if self.measure.name != "reward" or self.start is None or not self.change:
            return False
        return not math.isclose(self.now - self.start, self.change.mean, rel_tol=0.01, abs_tol=1e-6)

    @property
    def verdict(self) -> str:
        return self.change.verdict(self.measure) if self.change else ""

    @property
    def verdict_title(self) -> str:
        return translated(self.verdict)


@dataclass(frozen=True)
class RestorerHistory:
    """The curve of a run. If a step was repeated after an interruption, its last values count."""

    loss: list[Point] = field(default_factory=list)
    reward: list[Point] = field(default_factory=list)
    frm_loss: list[Point] = field(default_factory=list)
    values: dict[str, list[Point]] = field(default_factory=dict)  # of each term, before weighting
    gradients: dict[str, list[Point]] = field(default_factory=dict)  # norms of each weighted term
    evaluations: list[HeldOutEvaluation] = field(default_factory=list)
    gold: list[GoldAgreement] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def last_step(self) -> int:
        trained = [step for points in (self.loss, self.reward) for step, _ in points[-1:]]
        evaluated = [*(row.step for row in self.evaluations[-1:]), *(row.step for row in self.gold[-1:])]
        return int(max([*trained, *evaluated], default=0))

    @property
    def by_step(self) -> list[HeldOutEvaluation]:
        """One evaluation per step, at the greatest strength."""
        return list({row.step: row for row in self.evaluations}.values())

    @property
    def alarming(self) -> list[HeldOutEvaluation]:
        """Evaluations with an alarm, newest first."""
        return [row for row in reversed(self.evaluations) if row.alarms]

    @property
    def alarming_steps(self) -> int:
        return len({row.step for row in self.alarming})

    @property
    def evaluated_steps(self) -> int:
        """Number of steps evaluated after the initial one, which cannot raise an alarm."""
        return sum(row.step > 0 for row in self.by_step)

    @property
    def alarms_title(self) -> str:
        counts = {"n": f"{self.alarming_steps:,}", "total": f"{self.evaluated_steps:,}"}
        if self.newest and self.newest.alarms:
            title = ngettext(
                "Alarm at %(n)s of %(total)s evaluation",
                "Alarm at %(n)s of %(total)s evaluations",
                self.evaluated_steps,
            )
        else:
            title = ngettext(
                "Earlier alarms at %(n)s of %(total)s evaluation",
                "Earlier alarms at %(n)s of %(total)s evaluations",
                self.evaluated_steps,
            )
        return title % counts

    @property
    def alarms_to_show(self) -> list[HeldOutEvaluation]:
        """The newest and the first alarm."""
        return self.alarming if len(self.alarming) < 3 else [self.alarming[0], self.alarming[-1]]

    @property
    def between(self) -> list[HeldOutEvaluation]:
        return self.alarming[1:-1]

    @property
    def alarming_between(self) -> list[HeldOutEvaluation]:
        return self.between[:MAX_ALARMS]

    @property
    def first_problems(self) -> list[str]:
        return self.problems[:MAX_PROBLEMS]

    @property
    def first(self) -> HeldOutEvaluation | None:
        return self.by_step[0] if self.evaluations else None

    @property
    def newest(self) -> HeldOutEvaluation | None:
        return self.by_step[-1] if self.evaluations else None

    @property
    def best_judged(self) -> HeldOutEvaluation | None:
        """The earliest evaluation with the highest judge; None with fewer than two."""
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


def history(run: RunFolder) -> RestorerHistory:
    """Read the curve of a run; unreadable values are listed as problems."""
    lines = curve_lines(run)
    training: dict[int, ReflPoint] = {}
    evaluations: dict[tuple[int, float], HeldOutEvaluation] = {}
    gold: dict[int, GoldAgreement] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        where, found = f"line {number}", list[str]()
        # Points of a base are points of a tuning without terms and reward.
        point = run_schema.decode_point(line, "refl", where, found) if line.strip() else None
        if point is None and number == len(lines):
            continue  # it may still be incomplete
        if isinstance(point, GoldPoint):
            gold[point.step] = gold_of(point)
        elif isinstance(point, HeldOutPoint):
            evaluated = _held_out_evaluation(point)
            evaluations[point.step, evaluated.strength] = evaluated
        elif isinstance(point, ReflPoint):
            if point.loss is None and point.reward is None and not found:
                found.append(f"{where} has neither a loss nor an evaluation")
            else:
                training[point.step] = point
        problems += map(translated, found)
    rows = [point for _, point in sorted(training.items())]
    values, gradients = defaultdict[str, list[Point]](list), defaultdict[str, list[Point]](list)
    for point in rows:
        for name, term in (point.terms or {}).items():
            if term.value is not None:
                values[name].append((point.step, term.value))
            if term.gradient is not None:
                gradients[name].append((point.step, term.gradient))
    known = values.keys() | gradients.keys()
    terms = [*(term for term in TERMS if term in known), *sorted(known - TERMS.keys())][:MAX_TERMS]
    return RestorerHistory(
        loss=[(point.step, point.loss) for point in rows if point.loss is not None],
        reward=[(point.step, point.reward) for point in rows if point.reward is not None],
        frm_loss=[(point.step, point.frm_loss) for point in rows if point.frm_loss is not None],
        values={term: values[term] for term in terms if term in values},
        gradients={term: gradients[term] for term in terms if term in gradients},
        evaluations=[evaluations[key] for key in sorted(evaluations)],
        gold=[gold[key] for key in sorted(gold)],
        problems=problems,
    )


def _held_out_evaluation(point: HeldOutPoint) -> HeldOutEvaluation:
    changes = {name: change for name, change in (point.against_start or {}).items() if name in MEASURES}
    return HeldOutEvaluation(
        step=point.step,
        strength=1.0 if point.strength is None else point.strength,
        values={name: value for name in MEASURES if (value := point.held_out.get(name)) is not None},
        changes={name: found for name, change in changes.items() if (found := _change(change))},
        alarms=list(map(translated, point.alarms or [])),
    )


def _change(change: run_schema.Change) -> Change | None:
    if change.mean is None:
        return None
    whole = change.low is not None and change.high is not None
    return Change(change.mean, change.low if whole else None, change.high if whole else None)
