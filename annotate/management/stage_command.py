"""What every stage command shares: a progress bar, a summary, and an exit code that tells of skipped things."""

from collections.abc import Iterable
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.stages import Stage, Step, Summary

SHOWN_PER_REASON = 20


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

    def run_stage(self, name: str, steps: Iterable[Step], *, total: int | None = None) -> Summary:
        summary = Stage(name, total=total, show_bar=self.stderr.isatty()).run(steps)
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
