from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.common.stores import StoreError
from annotate.exchange.preference_rows import NothingToFreeze
from annotate.exchange.snapshot import freeze_faces, snapshot
from annotate.labels.consensus import METHODS
from annotate.labels.gold_guard import GoldLeak
from annotate.management.run_options import add_dataset_option, require_datasets
from annotate.management.stage_command import command_error, require_migrated
from annotate.models import Face, Preference
from annotate.models.faces import Split
from annotate.pipeline.ground_truth import of_sets, without_original
from annotate.predictor.simulated_labels import left_out_notice
from rewardlab.errors import DataError


class Command(BaseCommand):
    help = "Freeze the preferences to OUT/manifest.jsonl and all faces to OUT/faces.jsonl, for training elsewhere."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("out", type=Path)
        parser.add_argument(
            "--split", nargs="+", choices=Split.values, help="only faces of these splits (default: all)"
        )
        parser.add_argument(
            "--origin", nargs="+", choices=Preference.Origin.values, help="only labels of these origins (default: all)"
        )
        add_dataset_option(parser, "preferences")
        parser.add_argument(
            "--faces-of",
            nargs="+",
            metavar="NAME",
            help="list only the faces of these data sets, to tune on other faces than the reward model learns from; "
            "no preferences are needed then",
        )
        parser.add_argument(
            "--consensus",
            choices=METHODS,
            default="majority",
            help="how several answers are combined into one probability",
        )
        parser.add_argument(
            "--with-images", action="store_true", help="also copy the images, for training on another machine"
        )
        parser.add_argument(
            "--images-as",
            choices=("files", "shards"),
            default="files",
            help="shards: tar files of many images (WebDataset), which training reads without unpacking "
            "(default: %(default)s)",
        )
        parser.add_argument("--overwrite", action="store_true", help="replace an existing snapshot in OUT")

    def handle(self, *args: Any, **options: Any) -> None:
        require_migrated()
        as_shards = options["images_as"] == "shards"
        if as_shards and not options["with_images"]:
            raise CommandError("--images-as shards needs --with-images: without it no images are written.")
        require_datasets([*(options["dataset"] or ()), *(options["faces_of"] or ())])
        try:
            self.freeze_preferences(options)
            header = freeze_faces(
                options["out"] / "faces.jsonl",
                datasets=options["faces_of"] or (),
                with_images=options["with_images"],
                as_shards=as_shards,
            )
        except (NothingToFreeze, GoldLeak, StoreError, DataError, OSError) as error:
            raise command_error(error) from error
        self.stdout.write(f"{options['out'] / 'faces.jsonl'}: {header['rows']} faces, sha256 {header['sha256']}")
        listed = Face.objects.filter(dataset__name__in=options["faces_of"]) if options["faces_of"] else Face.objects
        wild = without_original(listed.all())
        if wild.exists():
            self.stdout.write(f"left out of faces.jsonl: {of_sets(wild)}, which have no original to learn from")

    def freeze_preferences(self, options: dict[str, Any]) -> None:
        """Write manifest.jsonl. Raises `NothingToFreeze` if there are no preferences, unless --faces-of is given."""
        try:
            row = snapshot(
                options["out"],
                splits=options["split"],
                origins=options["origin"],
                datasets=options["dataset"],
                consensus=options["consensus"],
                with_images=options["with_images"],
                as_shards=options["images_as"] == "shards",
                overwrite=options["overwrite"],
            )
        except NothingToFreeze as error:
            if not options["faces_of"]:
                raise NothingToFreeze(f"{error} To list faces alone: snapshot OUT --faces-of DATASET.") from error
            self.stdout.write(f"There is no manifest.jsonl: {error}")
            return
        counts = ", ".join(f"{name} {count}" for name, count in row.header["counts"].items()) or "nothing"
        self.stdout.write(f"{row.path}: {row.header['rows']} preferences of {row.header['faces']} faces ({counts})")
        self.stdout.write(f"sha256 {row.sha256}")
        if simulated := sum(count for name, count in row.header["counts"].items() if name.endswith("/simulated")):
            self.stdout.write(f"{simulated} of these are SIMULATED; to leave them out: manage.py count_simulated no")
        elif notice := left_out_notice():
            self.stdout.write(notice)
