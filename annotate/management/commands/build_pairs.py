from typing import Any

from annotate.management.stage_command import StageCommand
from annotate.models import Face
from annotate.services.pairing import build_pairs


class Command(StageCommand):
    help = "All pairs of {hq, restored} per face; those with hq are anchored with their fixed label (Sec. 3.1)."

    def handle(self, *args: Any, **options: Any) -> None:
        self.finish(self.run_stage("build_pairs", build_pairs(Face.objects.all())), options=options)
