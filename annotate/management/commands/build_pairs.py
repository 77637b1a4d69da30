from typing import Any

from annotate.management.stage_command import StageCommand, require
from annotate.models import Candidate, Face, Pair
from annotate.pipeline.pairing import build_pairs


class Command(StageCommand):
    help = "Build all pairs of {hq, restored} per face. Pairs with hq are anchored: their label is fixed (Sec. 3.1)."

    def handle(self, *args: Any, **options: Any) -> None:
        require(Candidate.objects.filter(restorer__isnull=False).exists(), "run restore first.")
        already = Pair.objects.count()
        summary = self.run_stage("build_pairs", build_pairs(Face.objects.all()), already=already)
        self.finish(summary, options=options)
