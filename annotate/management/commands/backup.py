import sqlite3
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from annotate.backup import backup
from annotate.backup.database_dump import Fault


class Command(BaseCommand):
    help = "Write database, predictors and secrets to FOLDER while the site goes on. `recover` puts them back."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument(
            "--with-images", action="store_true", help="the images too; those that are in FOLDER already stay"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        try:
            manifest = backup.back_up(folder, with_images=options["with_images"])
        except (Fault, OSError, DatabaseError, sqlite3.Error) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{folder}: {backup.summary(manifest)}")
        self.stdout.write(
            f"  {manifest.secrets} holds SECRET_KEY and NAME_SALT, readable by you alone: keep the folder as safe."
        )
        if not manifest.images:
            self.stdout.write(f"  Without images: copy {settings.MEDIA_ROOT} too, or use --with-images.")
        self.stdout.write(f"  Training runs are folders in {settings.RUN_ROOT}: copy those you want to keep.")
        if manifest.images_missing:
            raise CommandError(
                f"The backup is whole, but {len(manifest.images_missing)} images were missing or damaged here already:"
                f" {', '.join(manifest.images_missing[:5])}"
            )
