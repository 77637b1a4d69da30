"""An ablation on the faces of this site (`manage.py ablate`), of the same variants as the tables of `reproduce`."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from annotate.reproduction import report
from annotate.reproduction.steps import Reading
from annotate.reproduction.variants import Tuning, variants_of
from refl.evaluation.ablations import Variant
from rewardlab.paper_tables import TABLES
from rewardlab.training.runs import open_run

PASSED = (
    "preset", "frm", "judge", "faces", "dataset", "images", "device", "base_run", "weights_root", "sd", "checkpoint",
    "swinir", "sparnet", "prompts", "accept_licence",
)  # fmt: skip
NOTES = (
    "The paper's figures are of its own faces, people and training. Compare rows, not figures with the paper's, unless "
    "yours are the same.",
)


@dataclass(frozen=True)
class Ablation:
    """base: the untuned restorer. options: of the command. name: of the evaluation, and prefix of the runs."""

    table: str
    tuning: Tuning
    base: str
    options: dict[str, Any]
    name: str

    @property
    def variants(self) -> list[Variant]:
        return variants_of(self.table, self.tuning)[0]

    @property
    def left_out(self) -> list[str]:
        return [variant.title for variant in variants_of(self.table, self.tuning)[1]]

    @property
    def runs(self) -> dict[str, str]:
        """Map the paper's rows to runs."""
        return {variant.title: f"{self.name}-{variant.name}" for variant in self.variants}

    def commands(self, root: Path) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
        """Yield the commands that are left to do, as positional words and options. root: of the runs."""
        options = self.options
        passed = {key: options[key] for key in PASSED if key in options}
        for variant, run in zip(self.variants, self.runs.values(), strict=True):
            if not open_run(root, run).is_done():
                values = asdict(variant.of(self.tuning.config))
                changed = {field.name: values[field.name] for field in fields(self.tuning.config)}
                yield ("refl",), {"run": run, **passed, **{name: changed[name] for name in changed if name != "base"}}
        device = ("--device", options["device"]) if options["device"] else ()
        accepted = ("--accept-licence",) if options["accept_licence"] else ()
        for restorer in (self.base, *self.runs.values()):
            words = ("restore", "--restorer", restorer, "--faces", options["split"], *device)
            yield (*words, *(accepted if restorer == self.base else ())), {}
        judge = ("--judge", options["judge"]) if options["judge"] else ()
        compared = ("--restorers", self.base, *self.runs.values(), "--base", self.base, "--faces", options["split"])
        rewards = ("--frm", options["frm"], *judge)
        yield ("evaluate", "--name", self.name, *compared, *rewards, "--trained-on", "lpips", *device), {}

    def text(self, root: Path) -> str:
        """Format the table with the paper's figures beside ours."""
        rows = {"Base": self.base, **self.runs}
        return report.text(report.fill(TABLES[int(self.table)], (Reading("evaluation", self.name, rows),), root, NOTES))
