"""Stops a training of this process with a signal."""

import os
import signal
from collections.abc import Callable

from rewardlab.training.loop import Progress


def stop_after(step: int, number: signal.Signals = signal.SIGTERM) -> Callable[[Progress], None]:
    """Return an `on_progress` that sends the signal to this process when the step is done."""

    def on_progress(progress: Progress) -> None:
        if progress.step == step and progress.shown:
            os.kill(os.getpid(), number)

    return on_progress
