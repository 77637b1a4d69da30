import sqlite3
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from annotate.backup import backup
from annotate.backup.database_dump import BackupError
from annotate.common import audit_log


class Command(BaseCommand):
    help = "Restore the backup in FOLDER into this installation. The whole backup is checked before anything changes."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--replace", action="store_true", help="delete the contents of this database first")

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        try:
            recovered = backup.recover(folder, replace=options["replace"])
        except (BackupError, OSError, DatabaseError, sqlite3.Error) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Recovered and verified: {backup.summary(recovered.manifest)}")
        for line in self.next_steps(recovered, folder):
            self.stdout.write(f"  {line}")
        if not recovered.to_migrate:
            audit_log.record(actor=None, action="recover", made_at=recovered.manifest.made_at)

    def next_steps(self, recovered: backup.Recovered, folder: Path) -> list[str]:
        steps = []
        if recovered.to_migrate:
            steps.append("The backup is older than this code: run `python manage.py migrate`.")
        if recovered.secrets:
            names = " and ".join(recovered.secrets)
            steps.append(
                f"Set {names} to the values in {folder / recovered.manifest.secrets}: names are hashed with them."
            )
        if not recovered.manifest.images:
            steps.append(f"This backup has no images: copy them to {settings.MEDIA_ROOT}.")
        if recovered.manifest.images_missing:
            steps.append(
                f"{len(recovered.manifest.images_missing)} images were already missing when the backup was made."
            )
        steps.append("Start the site (make run, or your service). Queued work resumes.")
        return steps
