from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.stage_command import (
    DATASET_HELP,
    StageCommand,
    add_device_option,
    command_error,
    require,
    usable_device,
)
from annotate.models import Face
from annotate.pipeline.captioning import caption_faces, captions_from
from annotate.pipeline.datasets import DatasetError, find_dataset
from annotate.pipeline.sources import SourceError, read_sources


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
        add_device_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        require(Face.objects.exists(), "run ingest first.")
        try:
            dataset = find_dataset(options["dataset"])
            faces = Face.objects.filter(dataset=dataset) if dataset else Face.objects.all()
            if options["backend"] == "file":
                if options["source"] is None:
                    raise CommandError("--backend file needs --from: the table or folder with the captions.")
                steps = captions_from(faces, found=read_sources(options["source"]), dataset=dataset)
            else:
                steps = caption_faces(faces, captioner=open_captioner(options), source=options["backend"])
            summary = self.run_stage(
                "caption", steps, total=faces.filter(caption="").count(), already=faces.exclude(caption="").count()
            )
        except (SourceError, DatasetError, OSError, ImportError) as error:
            raise command_error(error) from error
        self.finish(summary, options=options)


def open_captioner(options: dict[str, Any]) -> Any:
    from rewardlab import captions

    if options["backend"] == "llava":
        return captions.LlavaCaptioner(options["model"], usable_device(options["device"]))
    return captions.TemplateCaptioner()
