import sqlite3
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from annotate.backup import backup
from annotate.backup.database_dump import Fault
from annotate.common import audit_log


class Command(BaseCommand):
    help = "Make this installation what the backup in FOLDER is. Checks all of it before anything is touched."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument("--replace", action="store_true", help="throw away what is in this database")

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        try:
            recovered = backup.recover(folder, replace=options["replace"])
        except (Fault, OSError, DatabaseError, sqlite3.Error) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Recovered and compared: {backup.summary(recovered.manifest)}")
        for line in self.next_steps(recovered, folder):
            self.stdout.write(f"  {line}")
        if not recovered.to_migrate:
            audit_log.record(actor=None, action="recover", made_at=recovered.manifest.made_at)

    def next_steps(self, recovered: backup.Recovered, folder: Path) -> list[str]:
        steps = []
        if recovered.to_migrate:
            steps.append("The backup is older than this code: run `python manage.py migrate` next.")
        if recovered.secrets:
            names = " and ".join(recovered.secrets)
            steps.append(f"Set {names} to what {folder / recovered.manifest.secrets} has: names are hashed with them.")
        if not recovered.manifest.images:
            steps.append(f"Images are not in this backup: copy them to {settings.MEDIA_ROOT}.")
        if recovered.manifest.images_missing:
            steps.append(f"{len(recovered.manifest.images_missing)} images were lost before the backup was made.")
        steps.append("Start the site again (make run, or your service): what was queued goes on.")
        return steps
