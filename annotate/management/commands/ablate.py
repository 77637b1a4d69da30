import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.commands.refl import Command as ReflCommand
from annotate.management.run_options import config_from
from rewardlab import tables


class Command(BaseCommand):
    help = (
        "Tune, restore and evaluate the paper's variants of ReFL, and print their table: 4 or 8 (the components, by "
        "base), 5 (steps that keep their gradient), 13 (weight of the regularisation). What is done already is not "
        "done again. All other options are those of `refl`."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        from refl.evaluation.ablations import TABLES

        parser.add_argument("--table", choices=list(TABLES), required=True)
        parser.add_argument("--split", default="test", help="whose faces are restored and compared (default: test)")
        ReflCommand().add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        from refl.configs import PRESETS
        from refl.evaluation.ablations import TABLES
        from rewardlab.training import runs

        root, name = Path(settings.RUN_ROOT), options["run"] or f"table-{options['table']}"
        if PRESETS[options["preset"]].base != "compact":
            raise CommandError(
                "The variants of a large base are too many for one command: give `refl` once for each (what they "
                "change stands in refl/evaluation/ablations.py), then `evaluate`. --base compact runs them all."
            )
        config, variants = config_from(options, PRESETS[options["preset"]]), TABLES[options["table"]]
        base = options["base_run"]
        if not base:
            raise CommandError("--base-run RUN is needed, a compact base: manage.py train_base.")
        names = [f"{name}-{variant.name}" for variant in variants]
        for variant, run in zip(variants, names, strict=True):
            if runs.open_run(root, run).is_done():
                self.stdout.write(f"{run}: done already")
                continue
            own = asdict(variant.of(config))
            settled = {field.name: own[field.name] for field in fields(config) if field.name != "base"}
            passed = {key: options[key] for key in ("preset", "frm", "judge", "faces", "images", "device", "base_run")}
            call_command("refl", run=run, **passed, **settled)
        restorers = [word for restorer in (base, *names) for word in ("--restorer", restorer)]
        call_command("restore", *restorers, "--faces", options["split"])
        compared = ["--restorers", base, *names, "--base", base, "--faces", options["split"], "--frm", options["frm"]]
        judge = ["--judge", options["judge"]] if options["judge"] else []
        call_command("evaluate", *compared, *judge, "--trained-on", "lpips", "--name", name)
        results = json.loads((root / name / "evaluation" / "results.json").read_text())
        self.stdout.write(f"\nTable {options['table']}, on this data\n\n" + self.table(results, base, names, variants))

    def table(self, results: dict[str, Any], base: str, names: list[str], variants: Any) -> str:
        """Markdown: a row a variant with its marks, then every metric's mean."""
        marks = list(variants[0].marks)
        heads = ["", *marks, *(metric["title"] for metric in results["metrics"])]
        values = {row["restorer"]: row["values"] for row in results["rows"]}
        rows = []
        for title, cells, run in [("Base", [""] * len(marks), base)] + [
            (variant.title, list(variant.marks.values()), run) for variant, run in zip(variants, names, strict=True)
        ]:
            means = (
                tables.decimals(values[run].get(metric["name"], {}).get("mean"), metric["digits"])
                for metric in results["metrics"]
            )
            rows.append([title, *cells, *means])
        return tables.markdown(heads, rows)
