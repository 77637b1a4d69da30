from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from annotate.labels.gold_guard import GoldLeak
from annotate.management.stage_command import require_migrated
from annotate.predictor.simulated_labels import left_out_notice


class Command(BaseCommand):
    help = "Fit the SVM of App. A.1 on the judged pairs of training faces and label all other contested pairs."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--refit",
            action="store_true",
            help="reuse the parameters of the last grid search",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        from annotate.predictor.versions import fit_predictor
        from rewardlab.predictor.svm import TooFewLabels

        require_migrated()
        try:
            version = fit_predictor(grid=not options["refit"])
        except TooFewLabels as error:
            raise CommandError(" ".join(filter(None, (str(error), left_out_notice())))) from error
        except GoldLeak as error:
            raise CommandError(str(error)) from error
        simulated = f", {version.simulated_labels} of them simulated" if version.simulated_labels else ""
        self.stdout.write(
            f"{version}: {version.labels} labels{simulated}; features {', '.join(version.features)}; "
            f"{version.parameters}\n"
            f"cross-validated accuracy {version.cv_accuracy:.3f} "
            f"(95% {version.cv_low:.3f} to {version.cv_high:.3f}, by face); "
            f"constant order of restorers {version.baseline_accuracy:.3f}\n"
            f"{version.pairs_labelled} pairs labelled in {version.seconds:.1f} s; "
            f"the version abstains from {version.pairs_abstained} of them"
        )
        if notice := left_out_notice():
            self.stdout.write(notice)
