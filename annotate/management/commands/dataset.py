from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from rewardlab import tables
from rewardlab.face_sets import FACE_SETS, FaceSetError, FolderReport, check, find_face_set

SHOWN = 10  # files of each problem
PROBLEMS = ("surplus", "wrong size", "unreadable", "without photograph")


class Command(BaseCommand):
    help = (
        "List the published face data sets that `ingest --preset` knows, or check a copy of one: what is missing, "
        "surplus, of another size or unreadable. Needs no database."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=("list", "check"))
        parser.add_argument("name", nargs="?", help="the data set to check")
        parser.add_argument("path", nargs="?", type=Path, help="the folder of the copy")
        parser.add_argument(
            "--thorough", action="store_true", help="decode every picture; otherwise only its header is read"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["action"] == "list":
            if options["name"]:
                raise CommandError(
                    f"`dataset list` takes no name. To check a copy: dataset check {options['name']} PATH"
                )
            self.list_sets()
            return
        if not options["name"] or not options["path"]:
            raise CommandError("Name the data set and the folder of its copy: dataset check NAME PATH")
        try:
            self.check_copy(options["name"], options["path"], thorough=options["thorough"])
        except (FaceSetError, OSError) as error:
            raise CommandError(str(error)) from error

    def list_sets(self) -> None:
        rows = [
            (
                known.name,
                f"{known.count:,}",
                " or ".join(map(str, known.sides)),
                " and ".join(
                    what
                    for what, names in (("photographs", known.photographs), ("low quality", known.low_quality))
                    if names
                ),
                ", ".join(f"{split}={share:g}" for split, share in known.shares.items()),
                known.use,
                known.licence,
            )
            for known in FACE_SETS.values()
        ]
        heads = ["data set", "faces", "px", "pictures", "split", "used for", "licence"]
        self.stdout.write(tables.text(heads, rows))

    def check_copy(self, name: str, path: Path, *, thorough: bool) -> None:
        known = find_face_set(name)
        reports: list[FolderReport] = []
        steps = check(known, path, thorough=thorough)
        for report in tqdm(steps, unit="", desc="check", disable=not self.stderr.isatty()):
            if report is not None:
                reports.append(report)
        rows = [
            (
                report.what,
                str(report.folder),
                f"{report.expected:,}",
                f"{report.found:,}",
                f"{report.missing:,}",
                *(f"{len(report.problems.get(problem, ())):,}" for problem in PROBLEMS),
            )
            for report in reports
        ]
        heads = ["pictures", "folder", "published", "found", "missing", *PROBLEMS]
        self.stdout.write(f"{known.title}, used for {known.use}: {' or '.join(map(str, known.sides))} pixels")
        self.stdout.write(tables.text(heads, rows))
        for report in reports:
            self.list_problems(report)
        if incomplete := [report.what for report in reports if not report.is_complete]:
            raise CommandError(f"{path} differs from {known.title} ({', '.join(incomplete)}), see above.")
        self.stdout.write(f"{path} is complete.")

    def list_problems(self, report: FolderReport) -> None:
        for problem, files in report.problems.items():
            if not files:
                continue
            self.stdout.write(
                f"  {report.what}, {problem} ({report.missing if problem == 'missing' else len(files):,})"
            )
            for file in files[:SHOWN]:
                self.stdout.write(f"    {file}")
            if len(files) > SHOWN:
                self.stdout.write(f"    ... and {len(files) - SHOWN} more")
