from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from annotate.exports import snapshot
from annotate.models import Preference
from annotate.models.faces import Split


class Command(BaseCommand):
    help = "Freeze the preferences to OUT/manifest.jsonl for training."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("out", type=Path)
        parser.add_argument("--split", nargs="+", choices=Split.values)
        parser.add_argument("--origin", nargs="+", choices=Preference.Origin.values)
        parser.add_argument("--with-images", action="store_true", help="copy the images too, for another machine")

    def handle(self, *args: Any, **options: Any) -> None:
        row = snapshot(
            options["out"],
            splits=options["split"],
            origins=options["origin"],
            with_images=options["with_images"],
        )
        counts = ", ".join(f"{name} {count}" for name, count in row.header["counts"].items()) or "nothing"
        self.stdout.write(f"{row.path}: {row.header['rows']} preferences of {row.header['faces']} faces ({counts})")
        self.stdout.write(f"sha256 {row.sha256}")
