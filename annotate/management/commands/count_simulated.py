from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from annotate.labels.votes import counts_simulated, simulated_answers
from annotate.management.stage_command import require_migrated
from annotate.predictor.simulated_labels import count_simulated


class Command(BaseCommand):
    help = (
        "Choose whether answers of SIMULATED annotators count as labels where no person has answered: in the SVM, "
        "exports, snapshots, reports and the leaderboard. By default they do not. Without an argument, say which it is."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("choice", nargs="?", choices=["yes", "no"])

    def handle(self, *args: Any, **options: Any) -> None:
        require_migrated()
        if options["choice"]:
            count_simulated(options["choice"] == "yes")
        state = "count as labels" if counts_simulated() else "do not count as labels"
        self.stdout.write(f"Answers of simulated annotators {state}. There are {simulated_answers()} of them.")
