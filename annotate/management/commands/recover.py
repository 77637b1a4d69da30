import sqlite3
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from annotate.backup import recovery
from annotate.backup.manifest import BackupError
from annotate.common import audit_log, image_store


class Command(BaseCommand):
    help = (
        "Restore the backup in FOLDER into this installation, while the site is stopped. Everything is checked before "
        "anything changes, and the earlier database is kept."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument(
            "--replace",
            action="store_true",
            help="put the backup in the place of this database, which is kept",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder: Path = options["folder"]
        try:
            recovered = recovery.recover(folder, replace=options["replace"])
        except (BackupError, OSError, DatabaseError, sqlite3.Error) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Recovered and verified: {recovered.manifest.summary()}")
        for line in self.next_steps(recovered, folder):
            self.stdout.write(f"  {line}")
        if not recovered.to_migrate:
            audit_log.record(actor=None, action="recover", made_at=recovered.manifest.made_at)

    def next_steps(self, recovered: recovery.Recovered, folder: Path) -> list[str]:
        steps = []
        if recovered.kept:
            steps.append(f"The earlier database is kept {recovered.kept}.")
        if recovered.to_migrate:
            steps.append("The backup is older than this code: run `python manage.py migrate`.")
        if recovered.secrets:
            names = " and ".join(recovered.secrets)
            steps.append(
                f"Set {names} to the values in {folder / recovered.manifest.secrets}: names are hashed with them."
            )
        if not recovered.manifest.images:
            steps.append(f"This backup has no images: copy them to {image_store.where()}.")
        if recovered.manifest.images_missing:
            steps.append(
                f"{len(recovered.manifest.images_missing)} images were already missing when the backup was made."
            )
        steps.append("Passwords, access tokens and roles are those of the backup; everyone has to sign in again.")
        steps.append("Start the site (make run, or your service). Unfinished work is queued again.")
        return steps
