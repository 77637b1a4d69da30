import os
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.demo import tour, tour_report
from annotate.management.stage_command import interrupted
from annotate.pipeline.stage import Stage
from rewardlab.assets import MissingAsset
from rewardlab.training import runs

# Unset, so that the tour keeps its data in its own folder and does not touch your database and runs.
ELSEWHERE = ("DATABASE_URL", "MEDIA_ROOT", "RUN_ROOT", "BROKER_URL")


class Command(BaseCommand):
    help = (
        "Run the whole pipeline unattended, on the demo's faces with SIMULATED annotators: photographs, labels, reward "
        "model, base restorer, reward feedback learning, evaluation, and a report in one file. Run the same command "
        "again to resume."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        default = settings.BASE_DIR / "var" / "tour"
        parser.add_argument(
            "folder", nargs="?", type=Path, default=default, help="folder for all data (default: var/tour)"
        )
        parser.add_argument(
            "--size",
            choices=[*tour.SIZES],
            default="small",
            help="small takes more than 16 minutes on two cores (default: small)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder = options["folder"].resolve()
        own = {name: value for name, value in os.environ.items() if name not in ELSEWHERE} | {"DATA_ROOT": str(folder)}
        if own != dict(os.environ):
            # Settings are read before a command runs, so restart it with the folder as DATA_ROOT.
            again = [sys.executable, sys.argv[0], "tour", folder, "--size", options["size"]]
            os.execve(sys.executable, [str(word) for word in again], own)  # noqa: S606 - no shell is wanted
        try:
            with runs.Run(folder / "tour").held():
                self.run_tour(folder, options["size"])
        except (tour.TourError, runs.RunError, MissingAsset) as error:
            raise CommandError(str(error)) from error

    def run_tour(self, folder: Path, name: str) -> None:
        call_command("migrate", "--verbosity", "0")
        log = tour.open_log(folder, name)
        steps = tour.steps(tour.SIZES[name])
        self.stdout.write(f"A tour of size {name}, with SIMULATED annotators; all data is stored in {folder}")
        for number, step in enumerate(steps, start=1):
            entry, title = log.entry(step), f"{number} of {len(steps)}, {step.title}"
            if entry.done:
                self.stdout.write(f"== {title}: already done ({entry.seconds:.0f} s)")
                continue
            self.stdout.write(f"== {title}")
            with log.timed(step):
                self.run_step(step)
            self.stdout.write(f"-- {step.title}: {entry.seconds:.0f} s")
        report = tour_report.write(folder, log, steps)
        self.stdout.write(f"The tour is done after {sum(each.seconds for each in log.entries.values()) / 60:.0f} min.")
        self.stdout.write(f"Report: {report}")

    def run_step(self, step: tour.Step) -> None:
        """Run a step. Raises `CommandError` with the step's error and how to resume."""
        resume = f"The tour stopped at “{step.title}”. Run the same command to resume there."
        try:
            if step.stage:
                summary = Stage(step.name, show_bar=self.stderr.isatty()).run(step.stage())
                self.stdout.write(f"{step.name}: done {summary.done}, rejected {dict(summary.reasons()) or 'none'}")
            elif not (step.run and runs.open_run(Path(settings.RUN_ROOT), step.run).is_done()):
                call_command(*step.words)
        except CommandError as error:
            raise CommandError(f"{error}\n{resume}") from error
        except KeyboardInterrupt:
            raise interrupted(f"Interrupted. {resume}") from None
