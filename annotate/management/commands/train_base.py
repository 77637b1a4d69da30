from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from annotate.management.restorer_runs import (
    add_face_options,
    create_or_resume,
    images_of,
    removed_on_refusal,
    write_faces,
)
from annotate.management.run_options import (
    add_config_options,
    add_continue_option,
    config_from,
    config_of,
    default_name,
    parent_of,
)
from annotate.management.run_progress import command_errors, show_progress
from annotate.management.stage_command import usable_device

# Options that a run takes from the one that it continues.
DATA_OPTIONS = ("stage_1", "faces", "dataset")


class Command(BaseCommand):
    help = (
        "Train a compact diffusion restorer for 128 px faces on a CPU (Eq. 1, Eq. 9), as a base for "
        "`refl`. Run the same command again to resume."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        from refl.configs import BaseConfig

        parser.add_argument("--run", help="name of the run (default: derived from the configuration)")
        parser.add_argument("--stage-1", metavar="RUN", help="the one-step base that a multi-step base starts from")
        add_continue_option(parser)
        add_face_options(parser)
        add_config_options(parser, BaseConfig, without=())

    def check_options(self, options: dict[str, Any]) -> Any:
        """Return the configuration. Raises `CommandError` for invalid values."""
        from refl.configs import BaseConfig

        parent = parent_of(options, "base", DATA_OPTIONS)
        return config_from(options, config_of(parent, BaseConfig) if parent else BaseConfig())

    def handle(self, *args: Any, **options: Any) -> None:
        from refl import train_base
        from refl.configs import FIXED_WHEN_CONTINUED_OF_BASE, FREE_TO_CHANGE_OF_BASE
        from rewardlab.training import runs

        if options["device"]:
            usable_device(options["device"])
        config = self.check_options(options)
        root, stage_1 = Path(settings.RUN_ROOT), options["stage_1"]
        parent = parent_of(options, "base", DATA_OPTIONS)
        kind = f"{parent.run.name}-from-{parent.step}" if parent else f"base-{config.variant}"
        name = options["run"] or default_name(kind, config, FREE_TO_CHANGE_OF_BASE, options["dataset"])
        with command_errors():
            run = runs.open_run(root, name)
            with run.held(), removed_on_refusal(run):
                if create_or_resume(
                    self,
                    run,
                    config,
                    free=FREE_TO_CHANGE_OF_BASE,
                    datasets=options["dataset"],
                    parent=parent,
                    fixed=FIXED_WHEN_CONTINUED_OF_BASE,
                ):
                    write_faces(run, options)
                    first = runs.open_run(root, stage_1) if stage_1 else None
                    train_base.prepare(run, config, images=images_of(options, run), stage_1=first)
            with show_progress(self, run) as on_progress:
                train_base.train(run, images=images_of(options, run), device=options["device"], on_progress=on_progress)
        self.stdout.write(f"{run.name}: done. The restorer is in {run.model}")
        self.stdout.write(f"To restore with it: manage.py restore --restorer {run.name}")
