import json
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.stage_command import DATASET_HELP, add_device_option, positive, require_migrated, usable_device
from annotate.models import Candidate, Face
from annotate.models.faces import Split
from annotate.pipeline.datasets import DatasetError, find_dataset
from rewardlab import tables

MEGABYTE = 1_000_000


class Command(BaseCommand):
    help = (
        "Measure the seconds that restorers need for an image, one image at a time, without reading and writing files "
        "(Table 14)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--restorers", nargs="+", required=True, metavar="NAME", help="published restorers, or runs (see restore)"
        )
        parser.add_argument("--dataset", metavar="NAME", help=DATASET_HELP)
        parser.add_argument("--faces", choices=Split.values, default=Split.TEST.value, help="split (default: test)")
        parser.add_argument("--images", type=positive, default=10, metavar="N", help="images (default: %(default)s)")
        parser.add_argument("--out", type=Path, metavar="FILE", help="also write the times to this JSON file")
        parser.add_argument(
            "--accept-licence", action="store_true", help="confirm that your use is non-commercial (see restore)"
        )
        add_device_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        from annotate.evaluation import timing
        from refl.errors import LicenceError, OptionError, UnknownRestorerError, WeightsError
        from rewardlab.files import write_atomic
        from rewardlab.training.runs import RunError

        require_migrated()
        images, device = self.images(options), usable_device(options["device"])
        found = []
        for name in dict.fromkeys(options["restorers"]):
            try:
                found.append(
                    timing.measure(
                        name,
                        images,
                        device=device,
                        root=Path(settings.RUN_ROOT),
                        accept_licence=options["accept_licence"],
                    )
                )
            except (UnknownRestorerError, WeightsError, OptionError, LicenceError, RunError, OSError) as error:
                raise CommandError(str(error)) from error
        heads = ["restorer", "seconds an image", "fastest", "slowest", "peak memory, MB"]
        rows = [
            (
                one.restorer,
                *(tables.decimals(value, 3) for value in (one.seconds, one.fastest, one.slowest)),
                None if one.peak_memory is None else round(one.peak_memory / MEGABYTE),
            )
            for one in found
        ]
        self.stdout.write(tables.text(heads, rows))
        self.stdout.write(
            f"Median of {found[0].images} images of {found[0].side} pixels, one at a time, on {found[0].device}."
        )
        if options["out"]:
            options["out"].parent.mkdir(parents=True, exist_ok=True)
            write_atomic(options["out"], json.dumps(timing.encoded(found), indent=1).encode())

    def images(self, options: dict[str, Any]) -> list[Any]:
        """Return the first degraded images of one size, with their faces. Raises `CommandError` if there are none."""
        from annotate.common import image_store
        from refl.restorers.spec import Subject
        from rewardlab import images

        faces = Face.objects.filter(split=options["faces"], candidates__source=Candidate.LQ)
        try:
            if dataset := find_dataset(options["dataset"]):
                faces = faces.filter(dataset=dataset)
        except DatasetError as error:
            raise CommandError(str(error)) from error
        first = faces.order_by("pk").first()
        if first is None:
            raise CommandError(
                f"No face of split {options['faces']} has a degraded image: run ingest and degrade first."
            )
        chosen = faces.filter(size=first.size).order_by("pk")[: options["images"]]
        return [
            (
                images.to_tensor([image_store.load(face.candidates.get(source=Candidate.LQ))]),
                Subject(face.pk, face.caption),
            )
            for face in chosen
        ]
