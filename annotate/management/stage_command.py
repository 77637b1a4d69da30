"""What every stage command shares: a progress bar, a summary, and an exit code that tells of skipped things."""

import argparse
from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from annotate.pipeline.stage import Stage, Step, Summary

SHOWN_PER_REASON = 20


def require_migrated() -> None:
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        raise CommandError("The database is not up to date: run `python manage.py migrate` first.")


def require(condition: bool, remedy: str) -> None:
    """What an earlier stage must have made."""
    if not condition:
        raise CommandError(f"There is nothing to work on: {remedy}")


def positive(text: str) -> int:
    """An option's whole number above 0."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def seed(text: str) -> int:
    """An option's seed: what every library takes."""
    if not text.isdigit() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 4,294,967,295")
    return int(text)


def usable_device(name: str) -> str:
    """The name of a torch device that works here."""
    import torch

    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise CommandError(f"--device {name} cannot be used here ({reason}). Without it the CPU is used.") from error
    return name


class StageCommand(BaseCommand):
    """A stage of the chain. Subclasses add arguments and call `run_stage` with their steps."""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--skip-bad",
            action="store_true",
            help="exit with 0 although things were skipped (they are still listed)",
        )
        self.add_stage_arguments(parser)

    def add_stage_arguments(self, parser: CommandParser) -> None:
        """Options of this stage."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        require_migrated()
        return super().execute(*args, **options)

    def run_stage(self, name: str, steps: Iterable[Step], *, total: int | None = None, already: int = 0) -> Summary:
        """`already`: what an earlier run did, for the summary."""
        summary = Stage(name, total=total, show_bar=self.stderr.isatty()).run(steps)
        summary.already += already
        self.report(summary)
        return summary

    def report(self, summary: Summary) -> None:
        already = f", already there {summary.already}" if summary.already else ""
        self.stdout.write(f"{summary.stage}: done {summary.done}{already}, skipped {len(summary.skipped)}")
        for reason, count in summary.reasons().most_common():
            self.stdout.write(f"  {reason} ({count})")
            steps = [step for step in summary.skipped if step.reason == reason]
            for step in steps[:SHOWN_PER_REASON]:
                self.stdout.write(f"    {step.skipped}: {step.detail}")
            if count > SHOWN_PER_REASON:
                self.stdout.write(f"    ... and {count - SHOWN_PER_REASON} more")

    def finish(self, *summaries: Summary, options: dict[str, Any]) -> None:
        """Raise, and so exit non-zero, if anything was skipped and --skip-bad was not given."""
        skipped = sum(len(summary.skipped) for summary in summaries)
        if skipped and not options["skip_bad"]:
            raise CommandError(f"{skipped} skipped, see above. With --skip-bad this is not an error.")
