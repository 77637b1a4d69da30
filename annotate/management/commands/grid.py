from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.stage_command import DATASET_HELP, positive, require_migrated
from annotate.models import Face
from annotate.models.faces import Split
from annotate.pipeline.datasets import DatasetError, find_dataset


class Command(BaseCommand):
    help = (
        "Draw restored faces beside each other, as in the paper's figures: a row for each face, in the order of the "
        "data set, not chosen by result."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--restorers",
            nargs="+",
            required=True,
            metavar="NAME",
            help="columns: restorers, lq and hq, in their order",
        )
        parser.add_argument("--titles", nargs="+", default=[], metavar="TEXT", help="headings (default: the names)")
        parser.add_argument("--faces", choices=Split.values, default=Split.TEST.value, help="split (default: test)")
        parser.add_argument("--dataset", metavar="NAME", help=DATASET_HELP)
        parser.add_argument(
            "--first", type=positive, default=20, metavar="N", help="faces (default: 20, as in App. H.2)"
        )
        parser.add_argument(
            "--side", type=positive, default=0, metavar="PX", help="size of a picture (default: as it is)"
        )
        parser.add_argument(
            "--out", nargs="+", type=Path, required=True, metavar="FILE", help="files to write, .png or .pdf"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from annotate.common.image_store import BrokenImage
        from annotate.evaluation import grid

        require_migrated()
        faces = Face.objects.filter(split=options["faces"]).order_by("pk")
        try:
            if dataset := find_dataset(options["dataset"]):
                faces = faces.filter(dataset=dataset)
            made = grid.make_grid(
                list(faces[: options["first"]]), options["restorers"], side=options["side"], titles=options["titles"]
            )
            canvas = grid.draw(made)
            for path in options["out"]:
                grid.save(canvas, path)
        except (DatasetError, grid.GridError, BrokenImage, OSError) as error:
            raise CommandError(str(error)) from error
        files = ", ".join(str(path) for path in options["out"])
        self.stdout.write(f"{len(made.faces)} faces by {len(made.sources)} columns: {files}")
