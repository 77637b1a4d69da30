from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.engine_options import add_engine_options, device_for, engine_for
from annotate.management.stage_command import StageCommand, add_device_option, positive, require
from annotate.models import Candidate, Face, Score
from annotate.pipeline.scoring import score_candidates, unscored
from rewardlab.metrics.registry import METRICS, PAPER_METRICS, availability


class Command(StageCommand):
    help = (
        "Compute the paper's six metrics, or those given, for every candidate. A metric whose weights are missing is "
        "skipped, with instructions to get them."
    )

    def add_stage_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--metrics",
            nargs="+",
            default=list(PAPER_METRICS),
            metavar="NAME",
            help="metrics to compute (default: the paper's six)",
        )
        parser.add_argument("--batch-size", type=positive, default=8, help="images at once (default: %(default)s)")
        add_device_option(parser)
        add_engine_options(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        if unknown := [name for name in options["metrics"] if name not in METRICS]:
            raise CommandError(f"No metric is called {', '.join(unknown)}; there are {', '.join(METRICS)}.")
        faces = Face.objects.all()
        require(faces.exists(), "run ingest first.")
        already = Score.objects.filter(metric__in=options["metrics"]).exclude(candidate__source=Candidate.LQ).count()
        usable = [name for name in options["metrics"] if availability(name) is None]
        total = sum(unscored(faces, name).count() for name in usable)
        with self.holding(*(f"score-{name}" for name in options["metrics"])), engine_for(options) as engine:
            steps = score_candidates(
                faces,
                engine=engine,
                names=options["metrics"],
                batch_size=options["batch_size"],
                device=device_for(options),
            )
            summary = self.run_stage("score", steps, total=total, already=already)
        self.finish(summary, options=options)
