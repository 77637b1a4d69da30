from collections import Counter
from collections.abc import Iterator
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from annotate.doctor.checks import Check, Finding, checks, of_low_quality
from annotate.management.stage_command import SHOWN_PER_REASON, interrupted, require_migrated


class Command(BaseCommand):
    help = (
        "Inspect the stored data: files that cannot be told apart, identical images in a pair, restorations that are "
        "copies, missing or damaged images, photographs without an upright face, files that no row refers to. Exits "
        "with 1 if something is found that is not repaired."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--fix",
            action="store_true",
            help="delete temporary files, move images that no row refers to into the folder unreferenced, and remove "
            "pairs of identical images about which nobody was asked. Faces, images in use and answers never change",
        )
        parser.add_argument("--no-faces", action="store_true", help="do not look for a face in every photograph")

    def handle(self, *args: Any, **options: Any) -> None:
        require_migrated()
        found: list[Finding] = []
        try:
            for check in checks(with_faces=not options["no_faces"]):
                found += self.run_check(check, fix=options["fix"])
        except KeyboardInterrupt:
            raise interrupted("Interrupted. Nothing is left half done: run the command again.") from None
        for note in of_low_quality():
            self.stdout.write(note)
        left = [finding for finding in found if not (options["fix"] and finding.fix)]
        if options["fix"]:
            self.stdout.write(f"{_findings(len(found) - len(left))} repaired.")
        if left:
            fixable = sum(finding.fix is not None for finding in left)
            remedy = f" --fix repairs {fixable} of them." if fixable else ""
            raise CommandError(f"{_findings(len(left))}, see above.{remedy}")
        self.stdout.write("Nothing suspicious is left." if found else "Nothing suspicious was found.")

    def run_check(self, check: Check, *, fix: bool) -> list[Finding]:
        """Run a check with a progress bar, repair what can be repaired if `fix` is set, and list the findings."""
        found: list[Finding] = []
        for finding in self.with_bar(check):
            if finding is not None:
                if fix and finding.fix:
                    finding.fix()
                found.append(finding)
        self.stdout.write(f"{check.title}: {_findings(len(found))}")
        for reason, count in Counter(finding.reason for finding in found).most_common():
            self.stdout.write(f"  {reason} ({count})")
            for finding in [each for each in found if each.reason == reason][:SHOWN_PER_REASON]:
                state = " (repaired)" if fix and finding.fix else ""
                self.stdout.write(f"    {finding.what}: {finding.detail}{state}")
            if count > SHOWN_PER_REASON:
                self.stdout.write(f"    ... and {count - SHOWN_PER_REASON} more")
        return found

    def with_bar(self, check: Check) -> Iterator[Finding | None]:
        yield from tqdm(check.run(), total=check.total(), desc=check.title, unit="", disable=not self.stderr.isatty())


def _findings(count: int) -> str:
    return "1 finding" if count == 1 else f"{count} findings"
