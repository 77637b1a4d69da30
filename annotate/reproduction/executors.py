"""How steps are executed: in turn in this process, or several at once, each in a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from annotate.common.lifeline import describe_end, environment
from annotate.reproduction.journal import Journal, ReproductionError
from annotate.reproduction.steps import Step

Execute = Callable[[Step], None]
SHOWN_LINES = 12  # of the log of a failed step


class Executor(Protocol):
    """Executes steps and records what they cost in the journal."""

    most: int  # steps at once

    def start(self, step: Step) -> None:
        """Begin a step. Raises the step's error if it fails at once."""

    def wait(self) -> Step:
        """Return a step that has ended. Raises the error of a step that failed."""


class InTurn:
    """Executes each step when it is started, in this process. execute: raises an exception if the step fails."""

    most = 1

    def __init__(self, journal: Journal, execute: Execute) -> None:
        self.journal, self.execute = journal, execute
        self.ended: list[Step] = []

    def start(self, step: Step) -> None:
        with self.journal.timed(step.name):
            self.execute(step)
        self.ended.append(step)

    def wait(self) -> Step:
        return self.ended.pop(0)


@dataclass
class _Child:
    step: Step
    process: subprocess.Popen
    lifeline: socket.socket
    since: float
    log: Path


class SideBySide:
    """Executes commands in processes, each with its share of the processor cores, and its output in a file of `logs`.

    Steps that are not commands run in this process by `execute`. The processes end with this one, even if it is
    killed. To be used in `held`, which ends the processes when the block ends early.
    """

    def __init__(self, journal: Journal, execute: Execute, most: int, logs: Path) -> None:
        self.in_turn = InTurn(journal, execute)
        self.journal, self.most, self.logs = journal, most, logs
        self.children: dict[int, _Child] = {}

    def start(self, step: Step) -> None:
        if step.stage:
            self.in_turn.start(step)
            return
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{step.name}.log"
        threads = max(1, (os.cpu_count() or 1) // self.most)
        ours, theirs = socket.socketpair()
        self.journal.begin(step.name)
        with theirs, log.open("ab") as out:
            out.write(f"$ {step.command}\n".encode())
            out.flush()
            process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-P", "-m", "annotate.job_command", "--lifeline", str(theirs.fileno()), *step.words],
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={"OMP_NUM_THREADS": str(threads)} | environment() | {"PYTHONUNBUFFERED": "1", "NO_COLOR": "1"},
            )
        self.children[process.pid] = _Child(step, process, ours, time.perf_counter(), log)

    def wait(self) -> Step:
        if self.in_turn.ended:
            return self.in_turn.wait()
        pid, status, usage = os.wait3(0)
        child = self.children.pop(pid)
        child.lifeline.close()
        child.process.returncode = code = os.waitstatus_to_exitcode(status)  # the child is waited for already
        self.journal.add(child.step.name, time.perf_counter() - child.since, usage.ru_utime + usage.ru_stime)
        if code:
            lines = child.log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
            end = "\n".join(lines)
            raise ReproductionError(
                f"“{child.step.title}” {describe_end(code)}. The end of {child.log}:\n{end}\n"
                "Run the same command to resume there."
            )
        return child.step

    @contextmanager
    def held(self) -> Iterator[None]:
        """End the processes that still run at the end of the block. Trainings save their state first."""
        with _terminated_as_interrupted():
            try:
                yield
            finally:
                for child in self.children.values():
                    with suppress(ProcessLookupError):
                        child.process.terminate()  # SIGINT is ignored in the background of a script
                while self.children:
                    with suppress(ReproductionError):
                        self.wait()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C within the block."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
