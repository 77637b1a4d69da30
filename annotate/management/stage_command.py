"""Base class and option types of stage commands: progress bar, summary, and the exit code for skipped items."""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from annotate.common import progress_file
from annotate.common.stores import StoreError
from annotate.engine.interface import EngineError
from annotate.models import Campaign
from annotate.pipeline.stage import Stage, Step, Summary
from annotate.pipeline.stage_lock import StageIsRunning, stage_lock
from rewardlab.errors import ModelError

SHOWN_PER_REASON = 20
SHOWN_OF_LEFT_OUT = 5
WRONG_FILE = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
DATASET_HELP = "only faces of this data set; needed for files if there are several"


def require_migrated() -> None:
    """Raise `CommandError` if migrations are missing."""
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise CommandError("The database is not up to date: run `python manage.py migrate` first.")


def require(condition: bool, remedy: str) -> None:
    """Raise `CommandError` with the remedy unless the output of an earlier stage exists."""
    if not condition:
        raise CommandError(f"There is nothing to process: {remedy}")


def command_error(error: BaseException, message: str = "") -> CommandError:
    """Return the error as one of the command, whose exit code says whether the same command may succeed later.

    An `OSError` may pass, for example of a full disk or a locked run, but not one about the name of a file.
    """
    sources = (error, error.__cause__)
    may_pass = any(isinstance(one, OSError | StoreError) and not isinstance(one, WRONG_FILE) for one in sources)
    return CommandError(message or str(error), returncode=progress_file.MAY_PASS if may_pass else 1)


def interrupted(message: str = "Interrupted. Run the same command to resume.") -> CommandError:
    return CommandError(message, returncode=progress_file.MAY_PASS)


def positive(text: str) -> int:
    """Parse an option's positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return int(text)


def seed(text: str) -> int:
    """Parse an option's seed, in the range that all libraries accept."""
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not an integer from 0 to 4,294,967,295")
    return int(text)


def add_simulated(parser: argparse.ArgumentParser) -> None:
    """Add the option that includes the answers of simulated annotators, or leaves them out: True, False or None."""
    parser.add_argument(
        "--simulated",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="include the answers of simulated annotators, or leave them out (default: if they count as labels)",
    )


def find_preference_campaign(slug: str) -> Campaign:
    """Return the campaign, or raise `CommandError` with the known ones."""
    preferences = Campaign.objects.filter(kind=Campaign.Kind.PREFERENCE)
    if campaign := preferences.filter(slug=slug).first():
        return campaign
    known = ", ".join(preferences.order_by("slug").values_list("slug", flat=True))
    raise CommandError(f"There is no preference campaign {slug}. Known: {known or 'none'}.")


def add_device_option(parser: CommandParser) -> None:
    parser.add_argument("--device", help="where to compute: cpu, cuda, cuda:1 or mps (default: cuda if available)")


def usable_device(name: str | None) -> str:
    """Return the name of a torch device, by default that of a GPU if there is one.

    Raises `CommandError` if it does not work on this machine.
    """
    import torch

    from rewardlab.devices import default_device

    name = name or default_device()
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise CommandError(f"--device {name} does not work on this machine ({reason}). Use --device cpu.") from error
    return name


class StageCommand(BaseCommand):
    """A command that runs a stage of the pipeline. Subclasses add options and call `run_stage` with their steps."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--skip-bad",
            action="store_true",
            help="exit with 0 even if items were skipped (they are still listed)",
        )
        self.add_stage_arguments(parser)

    def add_stage_arguments(self, parser: CommandParser) -> None:
        """Add the options of this stage."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        require_migrated()
        try:
            return super().execute(*args, **options)
        # A weights file is damaged; a file cannot be read or written; workers cannot be started.
        except (ModelError, EngineError, OSError) as error:
            raise command_error(error) from error

    @contextmanager
    def holding(self, *stages: str) -> Iterator[None]:
        """Lock stages for the block. Raises `CommandError` with the holder if another process runs one of them."""
        try:
            with stage_lock(*stages):
                yield
        except StageIsRunning as error:
            raise CommandError(str(error), returncode=progress_file.MAY_PASS) from error

    def run_stage(self, name: str, steps: Iterable[Step], *, total: int | None = None, already: int = 0) -> Summary:
        """Run the steps with a progress bar and print a summary. already: items that an earlier run processed."""
        summary = Stage(name, total=total, show_bar=self.stderr.isatty()).run(steps)
        summary.already += already
        progress_file.report_skipped(len(summary.skipped))
        self.report(summary)
        return summary

    def report(self, summary: Summary) -> None:
        """Print the counts, and the items that were skipped or left out, by reason."""
        already = f", already there {summary.already}" if summary.already else ""
        left_out = f", left out {len(summary.left_out)}" if summary.left_out else ""
        self.stdout.write(f"{summary.stage}: done {summary.done}{already}, skipped {len(summary.skipped)}{left_out}")
        self.list_by_reason(summary.skipped, most=SHOWN_PER_REASON)
        self.list_by_reason(summary.left_out, most=SHOWN_OF_LEFT_OUT, prefix="left out: ")

    def list_by_reason(self, steps: list[Step], *, most: int, prefix: str = "") -> None:
        for reason, count in Counter(step.reason for step in steps).most_common():
            self.stdout.write(f"  {prefix}{reason} ({count})")
            of_reason = [step for step in steps if step.reason == reason]
            for step in of_reason[:most]:
                self.stdout.write(f"    {step.skipped}: {step.detail}")
            if count > most:
                self.stdout.write(f"    ... and {count - most} more")

    def finish(self, *summaries: Summary, options: dict[str, Any]) -> None:
        """Raise, and so exit non-zero, if anything was skipped and --skip-bad was not given."""
        skipped = sum(len(summary.skipped) for summary in summaries)
        if skipped and not options["skip_bad"]:
            raise CommandError(f"{skipped} skipped, see above. Use --skip-bad to exit with 0.")
