"""Start processes, restart each one that ends or no longer reports, and stop them together."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

from annotate.common.lifeline import describe_end, environment

logger = logging.getLogger(__name__)
CHECK_SECONDS = 0.1
GRACE_SECONDS = 60
# A process that ends early is restarted after a delay that doubles each time.
EARLY_SECONDS = 10
FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0
SILENT_SECONDS = 45  # after which a process that does not report is killed; all report every few seconds


class StoppedAtOnce(Exception):
    """The processes were killed before they had finished."""


@dataclass(frozen=True)
class Program:
    """What a supervised process runs: a module of this package."""

    name: str
    module: str
    stop_signal: signal.Signals
    arguments: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()  # file descriptors that it inherits


class SupervisedProcess:
    """One process and its restarts."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: subprocess.Popen | None = None
        self.early_ends = 0
        self.start_at = 0.0

    def check(self) -> None:
        """Start the process if it is due, and notice whether it has ended or no longer reports."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.start_at:
                try:
                    self.start()
                except OSError as error:  # too many processes, or no memory for one more
                    delay = self._next_delay(early=True)
                    logger.error(
                        "The %s cannot be started: %s. It is tried again in %g seconds.",
                        self.program.name,
                        error,
                        delay,
                    )
                    self.start_at = now + delay
            return
        if (code := self.process.poll()) is not None:
            self._plan_restart(self.process.pid, code)
        elif self._is_silent(now):
            logger.error(
                "The %s (process %d) has not reported for %d seconds and is killed.",
                self.program.name, self.process.pid, SILENT_SECONDS,
            )  # fmt: skip
            self.kill()

    def start(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        command = [sys.executable, "-P", "-m", self.program.module, "--lifeline", str(theirs.fileno())]
        # In a session of its own, so that Ctrl-C reaches only the supervisor, which then stops all in order.
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own modules
                [*command, *self.program.arguments],
                pass_fds=(theirs.fileno(), *self.program.descriptors),
                start_new_session=True,
                env=environment(),
            )
        self.lifeline = ours
        self.started = self.reported = time.monotonic()
        logger.info("Started the %s (process %d).", self.program.name, self.process.pid)

    def _is_silent(self, now: float) -> bool:
        with suppress(OSError):  # nothing to read, or it has just ended
            if self.lifeline.recv(4096):
                self.reported = now
        return now - self.reported > SILENT_SECONDS

    def _plan_restart(self, pid: int, code: int) -> None:
        self.kill()  # what it started
        delay = self._next_delay(early=time.monotonic() - self.started < EARLY_SECONDS)
        end = describe_end(code)
        logger.error("The %s (process %d) %s. It is restarted in %g seconds.", self.program.name, pid, end, delay)
        self.lifeline.close()
        self.process, self.start_at = None, time.monotonic() + delay

    def _next_delay(self, *, early: bool) -> float:
        self.early_ends = self.early_ends + 1 if early else 0
        doublings = min(self.early_ends - 1, 10)
        return min(LONGEST_DELAY, FIRST_DELAY * 2**doublings) if early else 0.0

    def ask_to_stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(self.program.stop_signal)

    def wait(self, seconds: float) -> None:
        """Wait for the end. Raises `subprocess.TimeoutExpired`."""
        if self.process:
            self.process.wait(seconds)
            self.kill()

    def kill(self) -> None:
        """Kill the process and all that it started: they share its process group."""
        if self.process:
            with suppress(ProcessLookupError, PermissionError):  # macOS: no permission for a group of zombies
                os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    def __init__(self, programs: Sequence[Program]) -> None:
        self.processes = [SupervisedProcess(program) for program in programs]

    def run(self) -> None:
        """Supervise until SIGINT, SIGTERM or SIGHUP, which end this with `KeyboardInterrupt`."""
        with interrupted_by(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            while True:
                for process in self.processes:
                    process.check()
                time.sleep(CHECK_SECONDS)

    def stop(self) -> None:
        """Let all processes finish what they do. Raises `StoppedAtOnce` after a second signal or a minute."""
        deadline = time.monotonic() + GRACE_SECONDS
        with interrupted_by(signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            try:
                for process in self.processes:
                    process.ask_to_stop()
                for process in self.processes:
                    process.wait(max(0, deadline - time.monotonic()))
            except (KeyboardInterrupt, subprocess.TimeoutExpired):
                raise StoppedAtOnce from None
            finally:
                for process in self.processes:
                    process.kill()


def _raise_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def interrupted_by(*signals: signal.Signals) -> Iterator[None]:
    """Raise `KeyboardInterrupt` on these signals."""
    before = {number: signal.signal(number, _raise_interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
