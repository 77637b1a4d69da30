from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db.models import QuerySet

from annotate.management.engine_options import add_engine_options, device_for, engine_for
from annotate.management.stage_command import (
    DATASET_HELP,
    StageCommand,
    add_device_option,
    command_error,
    positive,
    require,
)
from annotate.models import Face
from annotate.pipeline.captioning import CaptionTask, caption_faces, captions_from
from annotate.pipeline.datasets import DatasetError, find_dataset
from annotate.pipeline.sources import SourceError, read_sources
from annotate.pipeline.stage import Step, Summary


class Command(StageCommand):
    help = "Caption the faces that have no caption (App. A.1)."

    def add_stage_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--backend",
            choices=("template", "file", "llava"),
            default="template",
            help="where captions come from (default: %(default)s)",
        )
        parser.add_argument(
            "--from", dest="source", type=Path, help="for --backend file: a table, or the folder of photographs"
        )
        parser.add_argument("--dataset", metavar="NAME", help=DATASET_HELP)
        parser.add_argument(
            "--model", help="for --backend llava: a folder, or a model in the hub cache (default: LLaVA-1.5-7B)"
        )
        parser.add_argument("--batch-size", type=positive, default=8, help="images at once (default: %(default)s)")
        add_device_option(parser)
        add_engine_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        require(Face.objects.exists(), "run ingest first.")
        try:
            dataset = find_dataset(options["dataset"])
            faces = Face.objects.filter(dataset=dataset) if dataset else Face.objects.all()
            if options["backend"] == "file":
                if options["source"] is None:
                    raise CommandError("--backend file needs --from: the table or folder with the captions.")
                steps = captions_from(faces, found=read_sources(options["source"]), dataset=dataset)
                summary = self.run_captions(faces, steps)
            else:
                with self.holding("caption"), engine_for(options) as engine:
                    engine.open(CaptionTask(options["backend"], options["model"], device_for(options)))
                    steps = caption_faces(
                        faces, engine=engine, source=options["backend"], batch_size=options["batch_size"]
                    )
                    summary = self.run_captions(faces, steps)
        except (SourceError, DatasetError, OSError, ImportError) as error:
            raise command_error(error) from error
        self.finish(summary, options=options)

    def run_captions(self, faces: QuerySet[Face], steps: Iterator[Step]) -> Summary:
        total, already = faces.filter(caption="").count(), faces.exclude(caption="").count()
        return self.run_stage("caption", steps, total=total, already=already)
