from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.stage_command import positive, require_migrated
from annotate.predictor.rollback import roll_back
from annotate.predictor.versions import DamagedPredictor


class Command(BaseCommand):
    help = (
        "Make an earlier version of the predictor current again, with its labels. It stays until fit_predictor is "
        "called by hand; newer versions are kept, withdrawn, and can be gone back to as well."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", nargs="?", type=positive, help="its number (default: the one before)")

    def handle(self, *args: Any, **options: Any) -> None:
        require_migrated()
        try:
            version = roll_back(to=options["version"])
        except (DamagedPredictor, LookupError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{version} is current: {version.pairs_labelled} pairs labelled, of which it abstains from "
            f"{version.pairs_abstained}. The worker fits no other until `manage.py fit_predictor`."
        )
