from typing import Any

from django.core.management.base import CommandParser

from annotate.management.stage_command import StageCommand, require
from annotate.models import Candidate, Face, Pair
from annotate.pipeline.pairing import build_pairs


class Command(StageCommand):
    help = "Build all pairs of {hq, restored} per face. Pairs with hq are anchored: their label is fixed (Sec. 3.1)."

    def add_stage_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--with-identical",
            action="store_true",
            help="also make pairs of two identical images",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        require(Candidate.objects.filter(restorer__isnull=False).exists(), "run restore first.")
        already = Pair.objects.count()
        steps = build_pairs(Face.objects.all(), with_identical=options["with_identical"])
        summary = self.run_stage("build_pairs", steps, already=already)
        self.finish(summary, options=options)
