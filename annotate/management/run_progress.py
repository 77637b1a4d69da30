"""A training on the terminal: its progress as a bar, or a line now and then where there is no terminal; its errors."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from tqdm import tqdm

if TYPE_CHECKING:
    from rewardlab.training.loop import Progress

SECONDS_BETWEEN_LINES = 15.0


@contextmanager
def reported(command: BaseCommand, run: Any, *, show: bool = True) -> Iterator[Callable[["Progress"], None]]:
    """What to hand a training as `tell`; `show` is False in all processes but one."""
    has_bar, told_at = show and command.stderr.isatty(), time.monotonic()
    with tqdm(desc=run.name, unit="step", disable=not has_bar, ncols=shutil.get_terminal_size().columns) as bar:

        def tell(progress: "Progress") -> None:
            nonlocal told_at
            shown = {name: f"{value:.3f}" for name, value in progress.shown.items() if value is not None}
            if not has_bar:
                if show and shown and time.monotonic() - told_at > SECONDS_BETWEEN_LINES:
                    told_at = time.monotonic()
                    figures = "".join(f", {name} {value}" for name, value in shown.items())
                    command.stdout.write(f"{run.name}: step {progress.step} of {progress.total}{figures}")
                return
            if bar.total is None:
                bar.reset(progress.total)
                bar.n = bar.initial = progress.step  # what an earlier start did does not count for the pace
            bar.update(progress.step - bar.n)
            bar.set_postfix(shown)

        yield tell


@contextmanager
def errors_in_words() -> Iterator[None]:
    """What stops a training, as an error of the command with what to do."""
    from rewardlab.assets import MissingAsset
    from rewardlab.training.loop import TrainError

    try:
        yield
    except MissingAsset as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error}. Runs are kept in {settings.RUN_ROOT} (RUN_ROOT).") from error
    except (TrainError, ValueError) as error:
        raise CommandError(str(error)) from error
    except KeyboardInterrupt:
        raise CommandError("Stopped by hand. The same command goes on.") from None
