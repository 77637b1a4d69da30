from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from annotate.common.refusals import Refused
from annotate.common.sides import SIDES
from annotate.exchange.answer_files import read_hpdv2, read_table
from annotate.exchange.foreign_answers import AnswerTable
from annotate.exchange.import_judgements import import_judgements, require_importable
from annotate.exchange.label_studio import LabelStudio, read_label_studio
from annotate.management.stage_command import StageCommand, command_error
from rewardlab.table_reader import TableError


class Command(StageCommand):
    help = (
        "Import answers: a table (CSV, JSON, JSON lines, Parquet) with the columns annotator, first, second (or pair) "
        "and choice, such as an export with --format answers-csv; HPDv2's JSON; or Label Studio's JSON of a pairwise "
        "project. Images are identified by the sha256 in their names. The campaign stays paused. "
        "Annotators appear as imported-...; their names are not stored. Importing the same file again changes nothing."
    )

    def add_stage_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path)
        parser.add_argument(
            "--format", default="table", choices=["table", "csv", "hpdv2", "label-studio"],
            help="default: table, in the format that the file's name ends in; csv means the same",
        )  # fmt: skip
        parser.add_argument("--campaign", required=True, metavar="SLUG", help="created if it does not exist")
        parser.add_argument(
            "--source-name",
            default="",
            metavar="NAME",
            help="name of the server, project or lab that the file is from: needed if it calls annotators by numbers",
        )
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
        table = AnswerTable(source=options["source_name"], zone=timezone.get_default_timezone())
        if options["format"] == "label-studio":
            keys = tuple(options["keys"]) if options["keys"] else None
            answers = read_label_studio(file, table, LabelStudio(self.choices(options["choice"]), keys))
        else:
            answers = read_hpdv2(file, table) if options["format"] == "hpdv2" else read_table(file, table)
        try:
            require_importable(slug)
            steps = import_judgements(answers, slug=slug, simulated=options["simulated"])
            summary = self.run_stage("import-judgements", steps)
        except (TableError, Refused, OSError) as error:
            raise command_error(error) from error
        if table.naive_times:
            zone = timezone.get_default_timezone_name()
            self.stdout.write(f"  times without a zone: {table.naive_times}; read as {zone}, the zone of this site")
        self.finish(summary, options=options)

    def choices(self, given: list[str]) -> dict[str, str]:
        found = dict(text.rpartition("=")[::2] for text in given)
        for value, side in found.items():
            if not value or side not in SIDES:
                raise CommandError(
                    f"--choice {value}={side}: write VALUE=SIDE, where SIDE is one of {', '.join(SIDES)}."
                )
        return found
