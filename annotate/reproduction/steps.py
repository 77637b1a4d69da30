"""Steps of a reproduction, and what they need, as plain descriptions."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from annotate.pipeline.stage import Step as StageStep

NeedKind = Literal["asset", "restorer", "base", "package", "dataset", "answers", "gold", "study"]


@dataclass(frozen=True)
class Need:
    """Something that no step makes: a file, a data set, people's answers. count: how many, where that matters."""

    kind: NeedKind
    name: str
    count: int = 0


@dataclass(frozen=True)
class Step:
    """A management command with its arguments (`words`), a stage function, or only a check of what people provide.

    reads: names of the steps whose results it uses. makes: its result (see `annotate.reproduction.products`). run: the
    run that it trains or evaluates.
    """

    name: str
    title: str
    words: tuple[str, ...] = ()
    stage: Callable[[], Iterator[StageStep]] | None = None
    reads: tuple[str, ...] = ()
    makes: str = ""
    needs: tuple[Need, ...] = ()
    run: str = ""

    @property
    def is_check(self) -> bool:
        return not self.words and self.stage is None

    @property
    def command(self) -> str:
        """The command as one would type it."""
        return shlex.join(("manage.py", *self.words)) if self.words else ""


@dataclass(frozen=True)
class Reading:
    """Where figures of a table come from. rows: a row of the paper's table, or a new one -> its name at the source.

    kind: evaluation (of restorers), agreement (evaluate_frm), learning-curve (of predictors), gold-curve (while
    tuning), study, cost, or times. source: the run, or the file. column: the paper's column for figures that have only
    one; a prefix of columns otherwise. only_differences: take only the differences from the base, for figures that
    another reading found.
    """

    kind: Literal["evaluation", "agreement", "learning-curve", "gold-curve", "study", "cost", "times"]
    source: str = ""
    rows: Mapping[str, str] = field(default_factory=dict)
    column: str = ""
    only_differences: bool = False


@dataclass(frozen=True)
class Recipe:
    """How a table is made: its last steps, and where its figures are read. notes: what its reader must know."""

    targets: tuple[str, ...]
    readings: tuple[Reading, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preset:
    """The steps of all tables in the order in which they run, and how each table is made of them."""

    name: str
    steps: Mapping[str, Step]
    recipes: Mapping[int, Recipe]
    figures: Mapping[int, Recipe]
    notes: tuple[str, ...]
    is_simulated: bool

    def steps_of(self, tables: Sequence[int], figures: Sequence[int] = ()) -> list[Step]:
        """Return the steps of these tables and figures, each once and after those that it reads."""
        recipes = [*(self.recipes[table] for table in tables), *(self.figures[figure] for figure in figures)]
        wanted: set[str] = set()
        todo = [name for recipe in recipes for name in recipe.targets]
        while todo:
            if (name := todo.pop()) not in wanted:
                wanted.add(name)
                todo += self.steps[name].reads
        return [step for name, step in self.steps.items() if name in wanted]


def by_name(steps: Iterable[Step]) -> dict[str, Step]:
    """Map names to steps. Raises `ValueError` for a name that is used twice, or a step that reads a later one."""
    found: dict[str, Step] = {}
    for step in steps:
        if step.name in found:
            raise ValueError(f"two steps are called {step.name}")
        if missing := [name for name in step.reads if name not in found]:
            raise ValueError(f"{step.name} reads {', '.join(missing)}, which no earlier step makes")
        found[step.name] = step
    return found
