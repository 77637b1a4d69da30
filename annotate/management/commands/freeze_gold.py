from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.agreement.gold_hashes import GoldChanged, find_gold_set
from annotate.agreement.gold_sets import freeze_gold_set
from annotate.common.refusals import Refused
from annotate.management.stage_command import require_migrated


class Command(BaseCommand):
    help = (
        "Permanently close a gold set once it is answered, by at least 2 annotators per pair, and store the hash of "
        "its pairs and answers."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", help="address of its campaign; optional if there is only one gold set")

    def handle(self, *args: Any, **options: Any) -> None:
        require_migrated()
        try:
            frozen = freeze_gold_set(gold_set=find_gold_set(options["name"]))
        except (GoldChanged, LookupError, Refused) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{frozen}: frozen, sha256 {frozen.answers_sha256}")
