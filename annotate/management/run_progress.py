"""Progress of a training, as a bar on a terminal and as lines elsewhere, and its errors."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

from annotate.common import progress_file
from annotate.management.stage_command import command_error, interrupted

if TYPE_CHECKING:
    from rewardlab.training.loop import Progress

SECONDS_BETWEEN_LINES = 15.0


@contextmanager
def show_progress(command: BaseCommand, run: Any, *, show: bool = True) -> Iterator[Callable[["Progress"], None]]:
    """Yield the callback `on_progress` for a training. show: False in all processes except the main one."""
    has_bar, written_at = show and command.stderr.isatty(), time.monotonic()
    if show:
        progress_file.report_run(run.name)
    with tqdm(desc=run.name, unit="step", disable=not has_bar, ncols=shutil.get_terminal_size().columns) as bar:

        def on_progress(progress: "Progress") -> None:
            nonlocal written_at
            shown = {name: f"{value:.3f}" for name, value in progress.shown.items() if value is not None}
            if show:
                figures = "".join(f", {name} {value}" for name, value in shown.items())
                is_last = progress.step == progress.total
                progress_file.report(progress.step, progress.total, run.name + figures, last=is_last)
            if not has_bar:
                if show and shown and time.monotonic() - written_at > SECONDS_BETWEEN_LINES:
                    written_at = time.monotonic()
                    command.stdout.write(f"{run.name}: step {progress.step} of {progress.total}{figures}")
                return
            if bar.total is None:
                bar.reset(progress.total)
                bar.n = bar.initial = progress.step  # so that the rate excludes steps of earlier starts
            bar.update(progress.step - bar.n)
            bar.set_postfix(shown)

        yield on_progress


@contextmanager
def command_errors() -> Iterator[None]:
    """Convert the errors of a training to `CommandError`."""
    from rewardlab.assets import MissingAsset
    from rewardlab.training.loop import TrainError

    try:
        yield
    except MissingAsset as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise command_error(error, f"{error}. Runs are stored in {settings.RUN_ROOT} (RUN_ROOT).") from error
    except (TrainError, ValueError) as error:
        raise command_error(error) from error
    except KeyboardInterrupt:
        raise interrupted() from None
