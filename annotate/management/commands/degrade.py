from typing import Any

from django.core.management.base import CommandParser

from annotate.management.stage_command import StageCommand
from annotate.models import Candidate, Face
from annotate.services.restoring import degrade_faces, without
from refl.degrade import PRESETS


class Command(StageCommand):
    help = "Low-quality versions by Eq. 9, one seed per face. Default: the paper's ranges, scaled to the face's size."

    def add_stage_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--preset", choices=sorted(PRESETS), help="these ranges, whatever the size")

    def handle(self, *args: Any, **options: Any) -> None:
        config = PRESETS[options["preset"]] if options["preset"] else None
        steps = degrade_faces(Face.objects.all(), config=config)
        self.finish(self.run_stage("degrade", steps, total=without(Candidate.LQ).count()), options=options)
