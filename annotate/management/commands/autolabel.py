from typing import Any

from annotate.management.stage_command import StageCommand
from annotate.services.predictors import autolabel


class Command(StageCommand):
    help = "Label contested pairs that neither a person nor the current predictor has labelled."

    def handle(self, *args: Any, **options: Any) -> None:
        self.finish(self.run_stage("autolabel", autolabel()), options=options)
