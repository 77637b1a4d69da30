from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.management.stage_command import positive, require_migrated


class Command(BaseCommand):
    help = (
        "Make an earlier version of the predictor current again, with its labels. The worker does not refit until you "
        "run fit_predictor. Newer versions are withdrawn but kept, and can be restored in the same way."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "version", nargs="?", type=positive, help="number of the version (default: the previous one)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from annotate.predictor.rollback import roll_back
        from annotate.predictor.versions import DamagedPredictor

        require_migrated()
        try:
            version = roll_back(to=options["version"])
        except (DamagedPredictor, LookupError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{version} is current: {version.pairs_labelled} pairs labelled; it abstains from "
            f"{version.pairs_abstained} of them. The worker does not refit until you run `manage.py fit_predictor`."
        )
