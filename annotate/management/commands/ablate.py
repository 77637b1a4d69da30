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
        "Tune, restore and evaluate the paper's variants of ReFL, and print their table: 4 or 8 (ablation of the "
        "components, by base), 5 (number of steps with gradient), 13 (weight of the regularisation). Finished runs are "
        "not repeated. All other options are those of `refl`."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        from refl.evaluation.ablations import TABLES

        parser.add_argument("--table", choices=list(TABLES), required=True, help="table of the paper")
        parser.add_argument("--split", default="test", help="split of the faces to restore and compare (default: test)")
        ReflCommand().add_arguments(parser)

    def check_options(self, options: dict[str, Any]) -> Any:
        """Return the configuration. Raises `CommandError` for a base that is not compact, for invalid values, and if
        the base has too few steps for two variants."""
        from refl.configs import FIXED_STEPS, PRESETS

        if PRESETS[options["preset"]].base != "compact":
            raise CommandError(
                "ablate supports only compact bases. For a large base, run `refl` once per variant (defined in "
                "refl/evaluation/ablations.py), then `evaluate`."
            )
        if options["continue_from"]:
            raise CommandError("--continue-from does not apply to ablate, whose runs start from the same base.")
        if not options["frm"]:
            raise CommandError("--frm RUN is required: the name of a finished run of manage.py train_frm.")
        if not options["base_run"]:
            raise CommandError("--base-run is required: the name of a compact base, trained with manage.py train_base.")
        config = config_from(options, PRESETS[options["preset"]])
        if len(self.variants(options, config)[0]) < 2:
            raise CommandError(
                f"--table {options['table']} varies the number of steps with gradient, but the base "
                f"{options['preset']} has {FIXED_STEPS[options['preset']]}. Use --base compact-multi-step, with a base "
                "of train_base --variant multi-step."
            )
        return config

    def variants(self, options: dict[str, Any], config: Any) -> tuple[list[Any], list[Any]]:
        """Return the variants of the table that the base can have, and the others, which ask for too many steps."""
        from refl.configs import FIXED_STEPS
        from refl.evaluation.ablations import TABLES

        most, known = FIXED_STEPS[options["preset"]], TABLES[options["table"]]
        too_long = [variant for variant in known if variant.of(config).backprop_steps > most]
        return [variant for variant in known if variant not in too_long], too_long

    def handle(self, *args: Any, **options: Any) -> None:
        from rewardlab.training import runs

        config = self.check_options(options)
        variants, left_out = self.variants(options, config)
        for variant in left_out:
            self.stdout.write(f"{variant.title} is left out: the base {options['preset']} has fewer denoising steps.")
        root, name, base = Path(settings.RUN_ROOT), options["run"] or f"table-{options['table']}", options["base_run"]
        names = [f"{name}-{variant.name}" for variant in variants]
        for variant, run in zip(variants, names, strict=True):
            if runs.open_run(root, run).is_done():
                self.stdout.write(f"{run}: already done")
                continue
            values = asdict(variant.of(config))
            changed = {field.name: values[field.name] for field in fields(config) if field.name != "base"}
            passed = {
                key: options[key]
                for key in (
                    "preset",
                    "frm",
                    "judge",
                    "faces",
                    "dataset",
                    "images",
                    "device",
                    "base_run",
                    "weights_root",
                )
            }
            call_command("refl", run=run, **passed, **changed)
        restorers = [word for restorer in (base, *names) for word in ("--restorer", restorer)]
        call_command("restore", *restorers, "--faces", options["split"])
        compared = ["--restorers", base, *names, "--base", base, "--faces", options["split"], "--frm", options["frm"]]
        judge = ["--judge", options["judge"]] if options["judge"] else []
        call_command("evaluate", *compared, *judge, "--trained-on", "lpips", "--name", name)
        results = json.loads((root / name / "evaluation" / "results.json").read_text())
        self.stdout.write(f"\nTable {options['table']}, on this data\n\n" + self.table(results, base, names, variants))

    def table(self, results: dict[str, Any], base: str, names: list[str], variants: Any) -> str:
        """Format a Markdown table with one row per variant: its marks, then the mean of every metric."""
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
