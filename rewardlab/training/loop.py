"""The training loop that all trainings share: step, status, TensorBoard and errors."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

import torch
from accelerate import Accelerator

from rewardlab.snapshot_images import DataError
from rewardlab.training import checkpoint, runs
from rewardlab.training.background import Background
from rewardlab.training.cost_meter import CostMeter
from rewardlab.training.run_schema import State, Unit
from rewardlab.training.runs import Run

STATUS_SECONDS = 1.0
SAME_SIGNAL_SECONDS = 1.0  # a terminal and a launcher both send Ctrl-C
STOPPING = b"\nStopping after this step, whose state is saved. Press Ctrl-C again to stop at once.\n"


class TrainError(RuntimeError):
    """The training cannot start or continue; the message says why, what to do, and which state is saved."""


@dataclass(frozen=True)
class Progress:
    step: int
    total: int
    shown: dict[str, float | None]


OnProgress = Callable[[Progress], None]


class Loop:
    """Step and status of one training process; only the main process writes."""

    def __init__(self, run: Run, total: int, accelerator: Accelerator, on_progress: OnProgress, *, unit: Unit) -> None:
        self.run, self.total, self.accelerator, self.on_progress, self.unit = run, total, accelerator, on_progress, unit
        self.step = self.saved = 0
        self.rate: float | None = None
        self.background = Background()  # writes saved states
        before = run.status() if run.exists() else None
        self.meter = CostMeter(before.cost if before else None, accelerator.device, accelerator.num_processes)
        self._status_at = 0.0
        self._stop_asked_at: float | None = None
        self._writer: Any = None

    @property
    def is_main(self) -> bool:
        is_main: bool = self.accelerator.is_main_process
        return is_main

    @contextmanager
    def guarded(self, *, when_full: str) -> Iterator[None]:
        """Turn errors into a status and a `TrainError`. when_full: message for out-of-memory errors."""
        try:
            yield
        except KeyboardInterrupt:
            unsaved = self._settled()
            self.write_status(
                "stopped", f"Interrupted. Run the same command to resume from step {self.saved}.{unsaved}"
            )
            raise
        except TrainError:
            raise
        except DataError as error:
            raise self.failure(str(error).rpartition("DataError: ")[2].strip()) from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                self.write_status("failed", f"{type(error).__name__}: {error}{self._settled()}")
                raise
            raise self.failure(when_full) from error
        except OSError as error:
            if runs.is_disk_full(error):
                raise self.failure(
                    f"The disk of {self.run.folder} is full. Free space and run the same command again"
                ) from error
            raise self.failure(f"{error}. Fix this and run the same command again") from error
        except Exception as error:
            self.write_status("failed", f"{type(error).__name__}: {error}{self._settled()}")
            raise

    def _settled(self) -> str:
        """Wait for the state that is being written. Return a sentence to append, about its error if it failed."""
        error = self.background.settle()
        return f" The last state could not be saved: {error}." if error else ""

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the training after the current step, a second one at once."""
        if threading.current_thread() is not threading.main_thread():  # only that thread receives signals
            yield
            return
        heeded = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._ask_to_stop) for number in heeded}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._stop_asked_at is None:
            self._stop_asked_at = now
            if self.is_main:
                os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, STOPPING)  # print is not safe in a handler
        elif now - self._stop_asked_at > SAME_SIGNAL_SECONDS:
            raise KeyboardInterrupt

    def is_asked_to_stop(self) -> bool:
        """Check whether any process was asked to stop. All processes call this before each step."""
        asked = self._stop_asked_at is not None
        if self.accelerator.num_processes == 1:
            return asked
        return bool(self.accelerator.reduce(torch.tensor(float(asked), device=self.accelerator.device), "sum"))

    def stop(self, save: Callable[[], None], log: Callable[[], None] | None) -> NoReturn:
        """Save the state in the main process, unless it is saved; log in all; and raise `KeyboardInterrupt`.

        log: appends the steps since the last point of the curve, if there are any. It comes last, since a job that does
        not end is killed.
        """
        if self.is_main and self.saved != self.step:
            save()
        if log:
            log()
        raise KeyboardInterrupt

    def require_finite(self, loss: torch.Tensor) -> None:
        """Raise `TrainError` for a loss that is not finite, which the main process also records.

        With several processes only the gradients are checked, which all of them share: a process that stopped alone
        would leave the others waiting.
        """
        if self.accelerator.num_processes == 1 and not loss.isfinite():
            raise self.diverged(f"The loss of step {self.step + 1} is not finite ({loss.item()})")

    def require_finite_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Raise `TrainError` for gradients that are not finite. Call this before the weights are changed by them."""
        if not are_finite([parameter.grad for parameter in parameters if parameter.grad is not None]):
            raise self.diverged(f"A gradient of step {self.step + 1} is not finite")

    def require_finite_weights(self, parts: checkpoint.Parts) -> None:
        """Raise `TrainError` if a trained weight is not finite."""
        if not are_finite([weight.detach() for _, weight, _ in checkpoint.trainable(parts)]):
            raise self.diverged(f"A weight after step {self.step} is not finite")

    def diverged(self, what: str) -> TrainError:
        """Return the error to raise, which says how to continue with other settings."""
        what += self._settled().rstrip(".")
        kept = ", ".join(str(step) for step in sorted(self.run.states()))
        exact = "" if self.accelerator.mixed_precision == "no" else ", or with --precision fp32"
        if not kept:
            return self.failure(f"{what}. Start again with a lower --learning-rate{exact}")
        return self.failure(
            f"{what}. Finite states of steps {kept} are kept. To continue from one, run the command with a lower "
            f"learning rate{exact}, without its other options: --continue-from {self.run.name}@"
            f"{max(self.run.states())} --run NEW --learning-rate VALUE"
        )

    def show(self, **shown: float | None) -> None:
        if self.is_main:
            self.on_progress(Progress(self.step, self.total, shown))
            self.heartbeat()

    def heartbeat(self) -> None:
        """Refresh the status: a run whose status is minutes old is shown as interrupted."""
        if time.monotonic() - self._status_at > STATUS_SECONDS:
            self._status_at = time.monotonic()
            self.write_status("running")

    def write_status(self, state: State, error: str = "") -> None:
        if self.is_main:
            self.run.write_status(
                state,
                step=self.step,
                total=self.total,
                error=error,
                rate=self.rate,
                unit=self.unit,
                cost=self.meter.cost(),
            )

    def failure(self, reason: str) -> TrainError:
        """Return the error to raise, after writing the status if possible."""
        reason = reason.rstrip(".") + self._settled().rstrip(".")
        saved = f"The last saved state is of step {self.saved}: {self.run.checkpoint}."
        message = f"{reason}. {saved if self.saved else 'No state was saved yet.'}"
        try:
            self.write_status("failed", message)
        except OSError as error:
            message += f" (The status could not be written: {error})"
        return TrainError(message)

    def tensorboard(self, scalars: dict[str, float | None]) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.run.folder / "tensorboard"), purge_step=self.step)
        for name, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(name, value, self.step)

    def finish(self, note: str = "") -> None:
        """Set the status to done; call this after the results are written."""
        self.write_status("done", note)
        if self._writer:
            self._writer.close()


def run_lock(run: Run, accelerator: Accelerator) -> AbstractContextManager[None]:
    """Return the run's lock in the main process, and a null context in others."""
    return run.held() if accelerator.is_main_process else nullcontext()


def is_out_of_memory(error: BaseException) -> bool:
    """Check whether a GPU or the machine is out of memory; torch's CPU allocator reports it only in the message."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def are_finite(tensors: Sequence[torch.Tensor]) -> bool:
    """Check that all values are finite, with one transfer from the device."""
    return not tensors or bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())
