import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.demo import tour
from annotate.pipeline.stage import Stage
from annotate.reproduction import presets
from annotate.reproduction.sizes import SIZES
from rewardlab.paper_tables import TABLES

if TYPE_CHECKING:
    from annotate.reproduction.journal import Journal
    from annotate.reproduction.steps import Preset, Step

# Unset, so that the preset compact keeps its data in its own folder and does not touch your database and runs.
ELSEWHERE = ("DATABASE_URL", "MEDIA_ROOT", "MEDIA_STORE", "RUN_ROOT", "BROKER_URL", "DATA_ROOT")
ALL = "all"
MOST_WORKERS = 4  # by default: each takes up to 2 GB of memory


class Command(BaseCommand):
    help = (
        "Make tables and figures of the paper, with the paper's figures beside ours. Each step runs once: run the same "
        "command again to resume, and after its inputs have changed. The preset paper uses the released weights, the "
        "data sets and people's answers of this site; compact uses the demo's faces, small models and SIMULATED "
        "annotators, in a folder of its own."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--table", nargs="+", default=[], choices=[*map(str, TABLES), ALL], metavar="N", help="1 to 15, or all"
        )
        parser.add_argument("--figure", nargs="+", default=[], metavar="N", help="4, 5, 6, 13 to 16, or all")
        parser.add_argument("--preset", choices=presets.NAMES, default=presets.PAPER, help="default: %(default)s")
        parser.add_argument("--plan", action="store_true", help="only print the steps, what is missing, and estimates")
        parser.add_argument("--size", choices=[*SIZES], help="of the preset compact (default: small)")
        parser.add_argument("--folder", type=Path, help="data of the preset compact (default: var/reproduction)")
        parser.add_argument(
            "--workers",
            type=int,
            metavar="N",
            help="steps of the preset compact at once, which share the processor cores (default: one per core, at most "
            f"{MOST_WORKERS})",
        )
        parser.add_argument(
            "--device", default="cuda", help="of the preset paper: cuda, cpu ... (default: %(default)s)"
        )
        parser.add_argument(
            "--accept-licence",
            action="store_true",
            help="confirm that your use is non-commercial, which some restorers require",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from annotate.reproduction.journal import ReproductionError

        choice = self.choice(options)
        try:
            preset = presets.describe(choice)
            tables, figures = self.chosen(preset, options)
            if options["plan"]:
                self.show_plan(preset, choice, tables, figures, options)
            else:
                if preset.is_simulated:
                    self.restart_in(choice.folder)
                self.make(preset, choice, tables, figures, options)
        except (ReproductionError, tour.TourError) as error:
            raise CommandError(str(error)) from error

    def choice(self, options: dict[str, Any]) -> presets.Choice:
        """Return what was chosen besides the tables. Raises `CommandError` for options of the other preset."""
        if options["preset"] == presets.COMPACT:
            if options["workers"] is not None and options["workers"] < 1:
                raise CommandError("--workers: at least 1.")
            folder = (options["folder"] or settings.BASE_DIR / "var" / "reproduction").resolve()
            return presets.Choice(presets.COMPACT, folder, folder / "runs", options["size"] or "small")
        if given := [f"--{name}" for name in ("folder", "size", "workers") if options[name] is not None]:
            raise CommandError(
                f"{' and '.join(given)}: only with --preset compact. The preset paper uses the data of this site."
            )
        folder = Path(settings.DATA_ROOT) / "reproduction"
        return presets.Choice(presets.PAPER, folder, Path(settings.RUN_ROOT), device=options["device"])

    def restart_in(self, folder: Path) -> None:
        """Restart with the folder as DATA_ROOT: settings are read before a command runs."""
        own = {name: value for name, value in os.environ.items() if name not in ELSEWHERE} | {"DATA_ROOT": str(folder)}
        if own != dict(os.environ):
            os.execve(sys.executable, [sys.executable, *sys.argv], own)  # noqa: S606 - no shell is wanted

    def chosen(self, preset: "Preset", options: dict[str, Any]) -> tuple[list[int], list[int]]:
        """Return the tables and figures. Raises `CommandError` for none, or an unknown figure."""
        tables = sorted(TABLES if ALL in options["table"] else set(map(int, options["table"])))
        known = [str(number) for number in preset.figures]
        if unknown := [name for name in options["figure"] if name not in (*known, ALL)]:
            raise CommandError(f"--figure {unknown[0]}: choose from {', '.join(known)}, {ALL}.")
        figures = sorted(preset.figures if ALL in options["figure"] else set(map(int, options["figure"])))
        if not tables and not figures:
            raise CommandError("Name what to make with --table or --figure; --plan shows how.")
        return tables, figures

    def show_plan(
        self, preset: "Preset", choice: presets.Choice, tables: list[int], figures: list[int], options: dict[str, Any]
    ) -> None:
        from annotate.reproduction import plan
        from annotate.reproduction.journal import open_journal

        journal = open_journal(choice.folder / f"{preset.name}.json", choice.setting)
        for line in plan.lines(preset, choice, journal, tables, figures, accepted=options["accept_licence"]):
            self.stdout.write(line)

    def make(
        self, preset: "Preset", choice: presets.Choice, tables: list[int], figures: list[int], options: dict[str, Any]
    ) -> None:
        from annotate.management.stage_command import require_migrated
        from annotate.reproduction import requirements, runner
        from annotate.reproduction.journal import open_journal
        from rewardlab.training.runs import Run, RunError

        if preset.name == presets.COMPACT:
            call_command("migrate", "--verbosity", "0")
        require_migrated()
        steps = preset.steps_of(tables, figures)
        if missing := requirements.all_missing(steps, accepted=options["accept_licence"]):
            lines = "\n".join(f"  - {text}" for text in missing)
            raise CommandError(f"These are missing:\n{lines}\nreproduce --plan shows which step needs which.")
        try:
            with Run(choice.folder / "reproduction").held():
                journal = open_journal(choice.folder / f"{preset.name}.json", choice.setting)
                if preset.is_simulated:
                    runner.require_own(journal)
                    self.stdout.write(f"With SIMULATED annotators, size {choice.size}; all data is in {choice.folder}")
                self.run_steps(steps, journal, choice, options["workers"])
                self.finish(preset, choice, journal, tables, figures)
        except RunError as error:
            raise CommandError(str(error)) from error

    def run_steps(self, steps: list["Step"], journal: "Journal", choice: presets.Choice, workers: int | None) -> None:
        from annotate.reproduction import runner
        from annotate.reproduction.executors import InTurn, SideBySide
        from annotate.reproduction.journal import cores

        if choice.preset == presets.COMPACT:
            workers = workers or min(cores(), MOST_WORKERS)
        if not workers or workers == 1:
            runner.run_steps(steps, journal, root=choice.runs, executor=InTurn(journal, self.execute_step),
                             note=self.stdout.write)  # fmt: skip
            return
        processes = SideBySide(journal, self.execute_step, workers, choice.folder / "logs")
        self.stdout.write(f"Up to {workers} steps at once; their output is in {processes.logs}")
        try:
            with processes.held():
                runner.run_steps(steps, journal, root=choice.runs, executor=processes, note=self.stdout.write)
        except KeyboardInterrupt:
            raise CommandError("Interrupted. Run the same command to resume.") from None

    def finish(
        self, preset: "Preset", choice: presets.Choice, journal: "Journal", tables: list[int], figures: list[int]
    ) -> None:
        from annotate.reproduction import report

        for number in tables:
            self.stdout.write("\n" + report.text(report.read(preset, choice, number)))
        written = report.write(preset, choice, journal)
        for step in preset.steps_of([], figures):
            if step.makes.startswith("file:"):
                self.stdout.write(f"Figure: {step.makes.partition(':')[2]}")
        self.stdout.write(f"All tables that are done, with LaTeX beside: {written}")

    def execute_step(self, step: "Step") -> None:
        """Run a step. Raises `CommandError` with the step's error and how to resume."""
        resume = f"The reproduction stopped at “{step.title}”. Run the same command to resume there."
        try:
            if step.stage:
                summary = Stage(step.name[:30], show_bar=self.stderr.isatty()).run(step.stage())
                self.stdout.write(f"{step.name}: done {summary.done}, rejected {dict(summary.reasons()) or 'none'}")
            else:
                call_command(*step.words)
        except CommandError as error:
            raise CommandError(f"{error}\n{resume}") from error
        except KeyboardInterrupt:
            raise CommandError(f"Interrupted. {resume}") from None
