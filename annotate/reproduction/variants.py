"""Tunings of Tables 4, 5, 8 and 13 as steps: what `reproduce` and `ablate` have in common.

A variant that another table has too is one run: N = 1 is the default of DiffBIR, and so on.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from annotate.reproduction.steps import Need, Step
from refl.bases import BASES
from refl.configs import FIXED_STEPS, PRESETS, ReflConfig
from refl.evaluation.ablations import OURS, TABLES, Variant
from refl.restorers import KNOWN


@dataclass(frozen=True)
class Tuning:
    """A base to tune. preset: of `refl --base`. prefix: of the runs' names. words: further options of refl.

    reads: steps that all its tunings use. config: with the options in `words`.
    """

    preset: str
    prefix: str
    config: ReflConfig
    words: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    title: str = ""

    @property
    def most_steps(self) -> int:
        """The number of denoising steps, beyond which no gradient can go."""
        return FIXED_STEPS.get(self.preset, self.config.steps)

    def run_of(self, variant: Variant) -> str:
        """Return the run's name: of the first variant with the same configuration."""
        wanted = variant.of(self.config)
        known = [OURS, *(each for table in ("4", "5", "13") for each in TABLES[table])]
        first = next(each for each in known if each.of(self.config) == wanted)
        return f"{self.prefix}-{first.name}"

    def is_possible(self, variant: Variant) -> bool:
        return variant.of(self.config).backprop_steps <= self.most_steps


def variants_of(table: str, tuning: Tuning) -> tuple[list[Variant], list[Variant]]:
    """Return the variants of a table that the base can have, and the others, which ask for too many steps."""
    known = TABLES[table]
    return [one for one in known if tuning.is_possible(one)], [one for one in known if not tuning.is_possible(one)]


def tuning_step(tuning: Tuning, variant: Variant) -> Step:
    """Describe the tuning of a variant."""
    run = tuning.run_of(variant)
    words = ("refl", "--base", tuning.preset, "--run", run, *tuning.words, *changed_words(tuning.config, variant))
    if (base := BASES.get(tuning.config.base)) and KNOWN[base.system].noncommercial:
        words += ("--accept-licence",)
    title = f"{tuning.title or tuning.preset}, tuned: {variant.title}"
    return Step(
        run, title, words, reads=tuning.reads, makes=f"run:{run}",
        needs=(Need("base", tuning.preset), *tuning.needs), run=run,
    )  # fmt: skip


def tuning_steps(tuning: Tuning, tables: Sequence[str]) -> list[Step]:
    """Describe the tunings of these tables, each once."""
    chosen = [one for table in tables for one in TABLES[table] if tuning.is_possible(one)]
    # Reversed, so that a run has the title of the first table.
    steps = {tuning.run_of(one): tuning_step(tuning, one) for one in reversed(chosen)}
    return [steps[run] for run in dict.fromkeys(map(tuning.run_of, chosen))]


def changed_words(config: ReflConfig, variant: Variant) -> tuple[str, ...]:
    """Return the options that make the configuration the variant's."""
    before, after = asdict(config), asdict(variant.of(config))
    return tuple(word for name, value in after.items() if value != before[name] for word in option(name, value))


def option(name: str, value: object) -> tuple[str, ...]:
    words = name.replace("_", "-")
    if isinstance(value, bool):
        return (f"--{words}",) if value else (f"--no-{words}",)
    return (f"--{words}", f"{value:g}" if isinstance(value, float) else str(value))


def configured(preset: str, **changes: object) -> ReflConfig:
    """Return the configuration of a preset with other values."""
    return ReflConfig(**(asdict(PRESETS[preset]) | changes))
