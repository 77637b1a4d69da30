from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.labels.gold_guard import GoldLeak
from annotate.management.stage_command import positive, require_migrated, seed
from annotate.predictor.learning_curve_words import summary
from annotate.predictor.simulated_labels import left_out_notice


class Command(BaseCommand):
    help = (
        "Measure the accuracy of the SVM, the MLPs (Table 9) and a boosted tree against the number of human labels, by "
        "cross-validation over faces, and whether the last doubling still helped. The page Predictors shows the curve."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--points", type=positive, default=6, help="points of the curve (default: 6)")
        parser.add_argument("--seed", type=seed, default=0, help="seed of the folds (default: %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        from annotate.predictor.learning_curve import measure_learning_curve
        from rewardlab.predictor.svm import TooFewLabels

        require_migrated()
        try:
            curve = measure_learning_curve(points=options["points"], seed=options["seed"], log=self.stderr.write)
        except TooFewLabels as error:
            raise CommandError(" ".join(filter(None, (str(error), left_out_notice())))) from error
        except GoldLeak as error:
            raise CommandError(str(error)) from error
        for sentence in summary(curve):
            self.stdout.write(sentence)
        if notice := left_out_notice():
            self.stdout.write(notice)
