"""Stops a training of this process with SIGTERM."""

import os
import signal
from collections.abc import Callable

from rewardlab.training.loop import Progress


def stop_after(step: int) -> Callable[[Progress], None]:
    """Return an `on_progress` that sends SIGTERM to this process when the step is done."""

    def on_progress(progress: Progress) -> None:
        if progress.step == step and progress.shown:
            os.kill(os.getpid(), signal.SIGTERM)

    return on_progress
