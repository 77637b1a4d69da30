from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db.models import QuerySet

from annotate.management.stage_command import DATASET_HELP, StageCommand, positive, require, usable_device
from annotate.models import Candidate, Face
from annotate.models.faces import Split
from annotate.pipeline.datasets import DatasetError, find_dataset
from annotate.pipeline.restoring import RestorerConflict, add_results, restore_faces, without
from annotate.pipeline.stage import Summary
from refl.errors import UnknownRestorerError, WeightsError
from refl.restorers import RESTORERS, open_restorer
from rewardlab.training.runs import RunError


class Command(StageCommand):
    help = "Restore the lq images with the demo's restorers, any checkpoint, or results from a folder."

    def add_stage_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--restorer",
            action="append",
            metavar="NAME",
            help=f"one of {', '.join(RESTORERS)}; a run of train_base or refl (RUN@0.5: halfway from its base); or any "
            "name with --weights. Can be repeated",
        )
        parser.add_argument("--weights", type=Path, help="a checkpoint that spandrel recognises")
        parser.add_argument(
            "--from-folder",
            action="append",
            default=[],
            metavar="NAME=PATH",
            help="results computed elsewhere from the images of degrade --export, under the same file names or those "
            "of the photographs",
        )
        parser.add_argument("--dataset", metavar="NAME", help=DATASET_HELP)
        parser.add_argument("--faces", choices=Split.values, help="only faces of this split (default: all)")
        parser.add_argument("--batch-size", type=positive, default=4, help="images at once (default: %(default)s)")
        parser.add_argument("--device", default="cpu", help="cpu, cuda, mps ...")

    def handle(self, *args: Any, **options: Any) -> None:
        names, folders = options["restorer"] or [], [parse_folder(text) for text in options["from_folder"]]
        if options["weights"] and len(names) != 1:
            raise CommandError("--weights needs exactly one --restorer, the name for its results.")
        require(Candidate.objects.filter(source=Candidate.LQ).exists(), "run degrade first.")
        if not names and not folders:
            names = list(RESTORERS)
        try:
            self.dataset = find_dataset(options["dataset"])
            summaries = [self.run_network(name, options) for name in names]
            summaries += [self.run_folder(name, folder, options) for name, folder in folders]
        except (
            DatasetError,
            UnknownRestorerError,
            WeightsError,
            RestorerConflict,
            RunError,
            FileNotFoundError,
        ) as error:
            raise CommandError(str(error)) from error
        self.finish(*summaries, options=options)

    def run_network(self, name: str, options: dict[str, Any]) -> Summary:
        faces = self.selected_faces(options)
        already = Candidate.objects.filter(source=name, face__in=faces).count()
        todo = without(name, faces).filter(candidates__source="lq").count()
        restorer = open_restorer(
            name,
            weights=options["weights"],
            device=usable_device(options["device"]),
            run_root=Path(settings.RUN_ROOT),
        )
        steps = restore_faces(faces, restorer=restorer, batch_size=options["batch_size"])
        return self.run_stage(f"restore-{name}"[:30], steps, total=todo, already=already)

    def run_folder(self, name: str, folder: Path, options: dict[str, Any]) -> Summary:
        faces = self.selected_faces(options)
        already = Candidate.objects.filter(source=name, face__in=faces).count()
        steps = add_results(faces, name=name, folder=folder, dataset=self.dataset)
        return self.run_stage(f"restore-{name}"[:30], steps, total=without(name, faces).count(), already=already)

    def selected_faces(self, options: dict[str, Any]) -> QuerySet[Face]:
        faces = Face.objects.filter(split=options["faces"]) if options["faces"] else Face.objects.all()
        return faces.filter(dataset=self.dataset) if self.dataset else faces


def parse_folder(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and Path(path).is_dir()):
        raise CommandError(f"--from-folder {text}: write NAME=PATH, where PATH is an existing folder.")
    if name in RESTORERS or name in ("hq", "lq"):
        raise CommandError(f"--from-folder {text}: the name {name} is reserved; choose another.")
    return name, Path(path)
