from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.common.refusals import Refused
from annotate.demo import simulated_annotators
from annotate.management.stage_command import StageCommand, positive, seed
from annotate.predictor.simulated_labels import count_simulated, left_out_notice


class Command(StageCommand):
    help = (
        "Let SIMULATED annotators judge pairs by a hidden preference model, for demos and tests. They are marked as "
        "simulated everywhere, and do not count as labels unless you ask for it with --as-labels or count_simulated. "
        "They answer the campaign “simulated” unless --campaign names another."
    )

    def add_stage_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--annotators", type=positive, default=3)
        parser.add_argument("--overlap", type=positive, default=2, help="answers per pair, if the campaign is new")
        parser.add_argument("--campaign", default="simulated")
        parser.add_argument("--limit", type=positive, metavar="N", help="stop after N answers")
        parser.add_argument(
            "--as-labels",
            action="store_true",
            help="from now on their answers count where no person has answered",
        )
        parser.add_argument("--seed", type=seed, default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            plan = simulated_annotators.prepare(
                slug=options["campaign"],
                annotators=options["annotators"],
                overlap=options["overlap"],
                seed=options["seed"],
            )
            self.stdout.write(f"calibrated: two simulated annotators agree on {plan.panel.agreement:.1%} of the pairs")
            if options["as_labels"]:
                count_simulated(True)
            steps = simulated_annotators.judge_all(plan, limit=options["limit"])
            summary = self.run_stage("simulate", steps, total=plan.total(options["limit"]))
        except (simulated_annotators.NothingToJudge, Refused) as error:
            raise CommandError(str(error)) from error
        if notice := left_out_notice():
            self.stdout.write(notice)
        self.finish(summary, options=options)
