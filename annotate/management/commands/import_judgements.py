from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.common.refusals import Refused
from annotate.exchange.foreign_files import SIDES, ImportFileError, LabelStudio, read_csv, read_label_studio
from annotate.exchange.import_judgements import import_judgements, require_importable
from annotate.management.stage_command import StageCommand


class Command(StageCommand):
    help = (
        "Import answers from another tool: Label Studio's JSON of a pairwise project, or a CSV with the columns "
        "annotator, first, second (or pair) and choice. Images are identified by the sha256 in their names, as in "
        "exports. The campaign stays closed. Annotators appear as imported-...; their names are not stored. Importing "
        "the same file again changes nothing."
    )

    def add_stage_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument("--format", required=True, choices=["label-studio", "csv"])
        parser.add_argument("--campaign", required=True, metavar="SLUG", help="created if it does not exist")
        parser.add_argument(
            "--choice", nargs="+", default=[], metavar="VALUE=SIDE",
            help=f"meaning of the values of a Choices tag; SIDE is one of {', '.join(SIDES)}",
        )  # fmt: skip
        parser.add_argument(
            "--simulated", action="store_true", help="the answers come from programs, not people; mark them as such"
        )
        parser.add_argument(
            "--keys",
            nargs=2,
            metavar=("LEFT", "RIGHT"),
            help="keys of the two images in a task's data (default: left right)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        file, slug = options["file"], options["campaign"]
        project = LabelStudio(self.choices(options["choice"]), tuple(options["keys"]) if options["keys"] else None)
        answers = read_csv(file) if options["format"] == "csv" else read_label_studio(file, project)
        try:
            require_importable(slug)
            steps = import_judgements(answers, slug=slug, simulated=options["simulated"])
            summary = self.run_stage("import-judgements", steps)
        except ImportFileError as error:
            raise CommandError(f"{file}: {error}") from error
        except (Refused, OSError) as error:
            raise CommandError(str(error)) from error
        self.finish(summary, options=options)

    def choices(self, given: list[str]) -> dict[str, str]:
        found = dict(text.rpartition("=")[::2] for text in given)
        for value, side in found.items():
            if not value or side not in SIDES:
                raise CommandError(
                    f"--choice {value}={side}: write VALUE=SIDE, where SIDE is one of {', '.join(SIDES)}."
                )
        return found
