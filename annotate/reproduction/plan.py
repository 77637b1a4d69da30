"""The plan of a reproduction in words: commands, inputs, what is missing, and estimates from recorded runs."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from annotate.reproduction import requirements
from annotate.reproduction.journal import Journal
from annotate.reproduction.presets import Choice
from annotate.reproduction.readings import METRICS
from annotate.reproduction.steps import Preset, Step
from rewardlab.paper_tables import TABLES
from rewardlab.training.run_schema import Cost
from rewardlab.training.runs import Run, RunError

NOT_MEASURED = "not measured"


def lines(
    preset: Preset,
    choice: Choice,
    journal: Journal,
    tables: Sequence[int],
    figures: Sequence[int],
    *,
    accepted: bool,
) -> Iterator[str]:
    """Describe what would be done for these tables and figures. accepted: non-commercial licences were accepted."""
    steps = preset.steps_of(tables, figures)
    what = [f"Table {number}" for number in tables] + [f"Figure {number}" for number in figures]
    yield f"{', '.join(what)}, {choice.setting}: {len(steps)} steps"
    yield from (f"  {note}" for note in preset.notes)
    for number in tables:
        yield from (f"  Table {number}: {note}" for note in preset.recipes[number].notes)
    for place, step in enumerate(steps, start=1):
        yield from _of_step(place, step, choice, journal, accepted)
    yield ""
    missing = requirements.all_missing(steps, accepted=accepted)
    yield f"Missing: {len(missing) or 'nothing'}"
    yield from (f"  - {text}" for text in missing)
    wanted = {column.title.rpartition(": ")[2] for number in tables for column in TABLES[number].columns}
    names = [own[0] for title, own in METRICS.items() if title in wanted and title != "FaceReward"]
    if unmeasured := requirements.unmeasured(names):
        yield "Metrics of the paper that cannot be computed here; their columns stay empty or show another metric:"
        yield from (f"  - {text}" for text in unmeasured)
    yield from _totals(steps, choice, journal)


def _of_step(place: int, step: Step, choice: Choice, journal: Journal, accepted: bool) -> Iterator[str]:
    entry = journal.entries.get(step.name)
    done = ", done before" if entry and entry.done else ""
    yield f"{place:3}. {step.title}{done}"
    yield f"     {step.command or ('built in' if step.stage else 'people, or a data set: nothing is run')}"
    if step.reads:
        yield f"     reads {', '.join(step.reads)}"
    if missing := requirements.missing(step, accepted=accepted):
        yield f"     missing: {'; '.join(one.what for one in missing)}"
    if not step.is_check:
        yield f"     estimate: {estimate(step, choice, journal)}"


def estimate(step: Step, choice: Choice, journal: Journal) -> str:
    """Return hours and memory of earlier executions of the step, or of a recorded run with the same base."""
    entry, cost = journal.entries.get(step.name), _cost(choice.runs, step.run)
    if entry and entry.done:
        memory = f", peak memory {cost.peak_memory / 1e9:.1f} GB" if cost and cost.peak_memory else ""
        return f"{entry.seconds / 3600:.2f} h, as measured here{memory}"
    if step.words[:1] == ("refl",) and (similar := _similar(step, choice.runs)):
        name, cost = similar
        memory = f", peak memory {cost.peak_memory / 1e9:.1f} GB" if cost.peak_memory else ""
        return f"{(cost.seconds or 0) / 3600:.2f} h{memory}, as the run {name} on {cost.device}"
    return NOT_MEASURED


def _similar(step: Step, root: Path) -> tuple[str, Cost] | None:
    """Return a finished run whose name begins with the same base, with its cost."""
    prefix = step.run.rpartition("-")[0].partition("-variant")[0]
    for folder in sorted(root.glob(f"{prefix}*")) if prefix else []:
        run = Run(folder)
        if run.exists() and run.is_done() and run.description().kind == "refl" and (cost := _cost(root, run.name)):
            return run.name, cost
    return None


def _cost(root: Path, name: str) -> Cost | None:
    try:
        status = Run(root / name).status() if name and Run(root / name).exists() else None
    except RunError:
        return None
    return status.cost if status else None


def _totals(steps: Sequence[Step], choice: Choice, journal: Journal) -> Iterator[str]:
    measured = [journal.entries[step.name].seconds for step in steps if step.name in journal.entries]
    unknown = sum(not step.is_check and estimate(step, choice, journal) == NOT_MEASURED for step in steps)
    yield f"Measured so far: {sum(measured) / 3600:.2f} h; steps without an estimate: {unknown} of {len(steps)}"
