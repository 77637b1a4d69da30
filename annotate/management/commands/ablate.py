from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.commands.refl import Command as ReflCommand
from annotate.management.run_options import config_from


class Command(BaseCommand):
    help = (
        "Tune, restore and evaluate the paper's variants of ReFL on your own faces, and print their table: 4 or 8 "
        "(ablation of the components, by base), 5 (number of steps with gradient), 13 (weight of the regularisation). "
        "Finished runs are not repeated. All other options are those of `refl`. `reproduce` makes all tables."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        from refl.evaluation.ablations import TABLES

        parser.add_argument("--table", choices=list(TABLES), required=True, help="table of the paper")
        parser.add_argument("--split", default="test", help="split of the faces to restore and compare (default: test)")
        ReflCommand().add_arguments(parser)

    def check_options(self, options: dict[str, Any]) -> Any:
        """Return the tuning. Raises `CommandError` for invalid values, and if the base has too few steps for two
        variants."""
        from annotate.reproduction.variants import Tuning, variants_of
        from refl.configs import PRESETS

        if options["continue_from"]:
            raise CommandError("--continue-from does not apply to ablate, whose runs start from the same base.")
        if not options["frm"]:
            raise CommandError("--frm RUN is required: the name of a finished run of manage.py train_frm.")
        if PRESETS[options["preset"]].base == "compact" and not options["base_run"]:
            raise CommandError("--base-run is required: the name of a compact base, trained with manage.py train_base.")
        config = config_from(options, PRESETS[options["preset"]])
        tuning = Tuning(options["preset"], options["run"] or f"table-{options['table']}", config)
        if len(variants_of(options["table"], tuning)[0]) < 2:
            raise CommandError(
                f"--table {options['table']} varies the number of steps with gradient, but the base "
                f"{options['preset']} has {tuning.most_steps}. Use --base diffbir, or --base compact-multi-step with a "
                "base of train_base --variant multi-step."
            )
        return tuning

    def handle(self, *args: Any, **options: Any) -> None:
        from annotate.reproduction import ablation

        tuning = self.check_options(options)
        made = ablation.Ablation(
            table=options["table"],
            tuning=tuning,
            base=self.base(options),
            options=options,
            name=options["run"] or f"table-{options['table']}",
        )
        for title in made.left_out:
            self.stdout.write(f"{title} is left out: the base {options['preset']} has fewer denoising steps.")
        root = Path(settings.RUN_ROOT)
        for words, changed in made.commands(root):
            call_command(*words, **changed)
        self.stdout.write(f"\n{made.text(root)}")

    def base(self, options: dict[str, Any]) -> str:
        """Return the untuned restorer that the variants are compared with."""
        return options["base_run"] or {"dr2": "dr2-spar"}.get(options["preset"], options["preset"])
