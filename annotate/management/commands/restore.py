from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db.models import QuerySet

from annotate.engine.interface import Engine
from annotate.management.engine_options import add_engine_options, device_for, engine_for
from annotate.management.stage_command import DATASET_HELP, StageCommand, add_device_option, positive, require
from annotate.models import Candidate, Face
from annotate.models.faces import Split
from annotate.pipeline.datasets import DatasetError, find_dataset
from annotate.pipeline.restoring import RestorerConflict, RestoreTask, add_results, restore_faces, without
from annotate.pipeline.stage import Summary
from refl.errors import LicenceError, OptionError, UnknownRestorerError, WeightsError
from refl.restorers import KNOWN, RESTORERS
from rewardlab.snapshot_images import DataError
from rewardlab.training.runs import RunError


class Command(StageCommand):
    help = "Restore the lq images with published restorers, the demo's, any checkpoint, or results from a folder."

    def add_stage_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--restorer",
            action="append",
            metavar="NAME",
            help=f"one of {', '.join(KNOWN)}; a run of train_base or refl (RUN@0.5: halfway from its base); or any "
            f"name with --weights. Can be repeated (default: {', '.join(RESTORERS)})",
        )
        parser.add_argument(
            "--weights",
            type=Path,
            help="a checkpoint that spandrel recognises; for a published restorer, its main file if it is not in the "
            "weights folder",
        )
        parser.add_argument(
            "--option",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="an option of the restorer (the documentation lists them). Can be repeated",
        )
        parser.add_argument("--prompts", type=Path, help="a table of tags (CSV or JSON lines) for --option prompt=file")
        parser.add_argument("--result", metavar="NAME", help="name of the results, if not the restorer's")
        parser.add_argument(
            "--accept-licence",
            action="store_true",
            help="confirm that your use is non-commercial, which some restorers require; their licence is shown first",
        )
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
        add_device_option(parser)
        add_engine_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        names, folders = options["restorer"] or [], [parse_folder(text) for text in options["from_folder"]]
        self.check_options(options)
        require(Candidate.objects.filter(source=Candidate.LQ).exists(), "run degrade first.")
        if not names and not folders:
            names = list(RESTORERS)
        try:
            self.dataset = find_dataset(options["dataset"])
            with engine_for(options) as engine:
                summaries = [self.run_network(name, engine, options) for name in names]
            summaries += [self.run_folder(name, folder, options) for name, folder in folders]
        except (
            DatasetError,
            UnknownRestorerError,
            WeightsError,
            RestorerConflict,
            OptionError,
            LicenceError,
            DataError,
            RunError,
            FileNotFoundError,
        ) as error:
            raise CommandError(str(error)) from error
        self.finish(*summaries, options=options)

    def check_options(self, options: dict[str, Any]) -> None:
        """Raise `CommandError` for options that need exactly one restorer, or that it does not have, and for a licence
        that must be accepted."""
        names = options["restorer"] or []
        for option in ("weights", "option", "prompts", "result"):
            if options[option] and len(names) != 1:
                raise CommandError(f"--{option} needs exactly one --restorer.")
        if (result := options["result"]) and (result in KNOWN or result in ("hq", "lq")):
            raise CommandError(f"--result {result}: this name is reserved. Choose another.")
        given = dict(map(parse_option, options["option"]))
        try:
            for name in filter(KNOWN.__contains__, names):
                KNOWN[name].parse(given)
                KNOWN[name].require_accepted(options["accept_licence"])
        except (OptionError, LicenceError) as error:
            raise CommandError(str(error)) from error

    def run_network(self, name: str, engine: Engine, options: dict[str, Any]) -> Summary:
        result = options["result"] or name
        with self.holding(f"restore-{result}"):
            return self.run_restorer(name, result, engine, options)

    def run_restorer(self, name: str, result: str, engine: Engine, options: dict[str, Any]) -> Summary:
        faces = self.selected_faces(options)
        already = Candidate.objects.filter(source=result, face__in=faces).count()
        todo = without(result, faces).filter(candidates__source="lq").count()
        how = {
            "weights": options["weights"],
            "device": device_for(options),
            "run_root": Path(settings.RUN_ROOT),
            "options": dict(map(parse_option, options["option"])),
            "prompts": options["prompts"],
            "accept_licence": options["accept_licence"],
            "result": options["result"] or "",
        }
        restorer = engine.open(RestoreTask(name, how))
        if name in KNOWN and KNOWN[name].noncommercial:
            self.stdout.write(f"{name}: {KNOWN[name].licence}. You accepted it.")
        steps = restore_faces(faces, engine=engine, restorer=restorer, batch_size=options["batch_size"])
        return self.run_stage(f"restore-{result}"[:30], steps, total=todo, already=already)

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
    if name == "lq":
        raise CommandError(
            f"--from-folder {text}: low-quality pictures are not restorations. Give them with ingest --lq {path}."
        )
    if name in RESTORERS or name == "hq":
        raise CommandError(f"--from-folder {text}: the name {name} is reserved; choose another.")
    return name, Path(path)


def parse_option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise CommandError(f"--option {text}: write NAME=VALUE.")
    return name, value
