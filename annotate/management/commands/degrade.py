from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from annotate.management.engine_options import add_engine_options, engine_for
from annotate.management.stage_command import StageCommand, positive, require
from annotate.models import Candidate, Face
from annotate.pipeline.degrading import degrade_faces, export_lq
from annotate.pipeline.given_pictures import given
from annotate.pipeline.restoring import without
from refl.degradation import PRESETS


class Command(StageCommand):
    help = "Degrade the faces by Eq. 9, with one seed per face. Parameter ranges are scaled to the size of the face."

    def add_stage_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--preset", choices=sorted(PRESETS), default="paper", help="parameter ranges (default: %(default)s)"
        )
        parser.add_argument(
            "--batch-size", type=positive, default=8, help="images handed to a worker at once (default: %(default)s)"
        )
        add_engine_options(parser)
        parser.add_argument(
            "--export", type=Path, help="write all lq images to this folder, for restorers that run elsewhere"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        require(Face.objects.exists(), "run ingest first.")
        already = Candidate.objects.filter(source=Candidate.LQ).count()
        config = PRESETS[options["preset"]]
        with self.holding("degrade"), engine_for(options) as engine:
            steps = degrade_faces(Face.objects.all(), engine=engine, config=config, batch_size=options["batch_size"])
            summary = self.run_stage("degrade", steps, total=without(Candidate.LQ).count(), already=already)
        if count := given(Face.objects.all()).count():
            kept = "1 face has" if count == 1 else f"{count} faces have"
            self.stdout.write(f"  {kept} a given low-quality picture, which is kept")
        if options["export"]:
            exported = export_lq(options["export"])
            self.stdout.write(f"  {exported} images exported to {options['export']}, named face-NUMBER.png")
        self.finish(summary, options=options)
