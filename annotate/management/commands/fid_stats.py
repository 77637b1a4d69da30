from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from annotate.management.stage_command import add_device_option, positive, usable_device
from rewardlab import images
from rewardlab.images import ImageError, Pixels

BATCH_SIZE = 32
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}


class Command(BaseCommand):
    help = (
        "Compute the statistics of a folder of photographs, such as FFHQ, for evaluate --fid-stats FILE. The images "
        "are read from the folder and all folders below it."
    )
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path, metavar="FOLDER")
        parser.add_argument("out", type=Path, metavar="FILE", help="the .npz file to write")
        parser.add_argument(
            "--features",
            choices=["inception", "efficientnet-lite0"],
            default="inception",
            help="network (default: %(default)s, of published FIDs)",
        )
        parser.add_argument("--size", type=positive, help="resize to squares of this side first", metavar="PX")
        parser.add_argument("--limit", type=positive, help="only the first N images by name", metavar="N")
        add_device_option(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        from rewardlab.metrics import fid, fid_statistics

        folder, out = options["folder"], options["out"]
        if not folder.is_dir():
            raise CommandError(f"{folder} is not a folder.")
        if out.suffix != ".npz":
            raise CommandError(f"{out}: name a file that ends in .npz.")
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)[: options["limit"]]
        if len(files) < 2:
            raise CommandError(f"{folder} has {len(files)} images; at least two are needed.")
        try:
            extract = fid.open_features(options["features"], usable_device(options["device"]))
            with tqdm(files, unit="image", disable=not self.stderr.isatty()) as bar:
                batches = same_size(self.read(path, options["size"]) for path in bar)
                gathered = fid_statistics.gather(extract(images.to_tensor(batch)).numpy() for batch in batches)
            fid_statistics.write(out, gathered, options["features"])
        except (RuntimeError, ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{out}: {options['features']} features of {gathered.count} images")

    def read(self, path: Path, size: int | None) -> Pixels:
        """Read an image. Raises `CommandError`, since statistics of a part of the set would pass for the whole."""
        try:
            pixels = images.read(path)
        except (ImageError, OSError) as error:
            raise CommandError(f"{error}. Remove the file or repair it: the statistics must cover the set.") from error
        if size is None or pixels.shape[:2] == (size, size):
            return pixels
        method = cv2.INTER_AREA if size < min(pixels.shape[:2]) else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(pixels, (size, size), interpolation=method), np.uint8)


def same_size(pictures: Iterator[Pixels]) -> Iterator[list[Pixels]]:
    """Group consecutive images of one size, at most `BATCH_SIZE` each."""
    batch: list[Pixels] = []
    for picture in pictures:
        if batch and (len(batch) == BATCH_SIZE or batch[0].shape != picture.shape):
            yield batch
            batch = []
        batch.append(picture)
    if batch:
        yield batch
