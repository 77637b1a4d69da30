import sqlite3
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from annotate.backup import backup
from annotate.backup.manifest import BackupError
from annotate.common import image_store


class Command(BaseCommand):
    help = (
        "Back up database, predictors and secrets to FOLDER. The site can keep running. `recover` restores the backup."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument(
            "--with-images", action="store_true", help="also back up the images that FOLDER does not contain yet"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        try:
            manifest = backup.back_up(folder, with_images=options["with_images"])
        except (BackupError, OSError, DatabaseError, sqlite3.Error) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{folder}: {manifest.summary()}")
        self.stdout.write(
            f"  {manifest.secrets} contains SECRET_KEY and NAME_SALT. Only you can read it; protect any copy as well."
        )
        if not manifest.images:
            self.stdout.write(f"  The backup has no images: copy {image_store.where()} as well, or use --with-images.")
        self.stdout.write(f"  Training runs are not included: copy the folders you need from {settings.RUN_ROOT}.")
        if manifest.images_missing:
            raise CommandError(
                f"The backup lacks {len(manifest.images_missing)} images, which are missing or damaged in "
                f"{image_store.where()}: {', '.join(manifest.images_missing[:5])}"
            )
