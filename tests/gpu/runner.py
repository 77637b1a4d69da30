"""Run stages in their own processes, with a time limit, and record how they ended."""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.gpu import session
from tests.gpu.session import Session

MIN_SECONDS = 5  # with less time left, a stage is not started


@dataclass(frozen=True)
class Stage:
    """A stage. function: `module:name`, called with a `Session`. seconds: time limit. measures_time: run alone.

    Adjacent stages that do not measure time run in parallel.
    """

    name: str
    title: str
    function: str
    seconds: int
    measures_time: bool = True


@dataclass(frozen=True)
class Running:
    stage: Stage
    given: Session
    process: Any
    started: float


def preload(stages: list[Stage]) -> None:
    """Import the modules of the stages, so that forked processes do not have to."""
    for module in {stage.function.partition(":")[0] for stage in stages}:
        try:
            import_module(module)
        except Exception:  # noqa: BLE001 - a broken package may raise anything
            traceback.print_exc()  # stages that need the module will fail and report this


def run(stages: list[tuple[Stage, Session]], commit: str) -> list[str]:
    """Run stages in parallel. Record and return how each ended: done, failed, killed or out of time.

    commit: of the measured code.
    """
    return [_finish(running, commit) for running in [_start(stage, given) for stage, given in stages]]


def _start(stage: Stage, given: Session) -> Running:
    process = None
    if given.seconds_left >= MIN_SECONDS:
        process = multiprocessing.get_context(given.start_method).Process(target=_in_process, args=(stage, given))
        process.start()
    return Running(stage, given, process, time.monotonic())


def _finish(running: Running, commit: str) -> str:
    given, process = running.given, running.process
    ended, error = "not started: out of time", ""
    if process:
        process.join(max(0.0, given.seconds_left))
        ended = _ending(process)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # including its child processes
        process.kill()
        process.join()
        if ended == "failed" and _error_file(given).exists():
            error = _error_file(given).read_text()
    line = {"stage": running.stage.name, "ended": ended, "seconds": round(time.monotonic() - running.started, 1)}
    line |= {"commit": commit, "date": f"{datetime.now(UTC):%Y-%m-%d}", **({"error": error} if error else {})}
    session.write(given.folder, line)
    return ended


def _ending(process: Any) -> str:
    if process.is_alive():
        return "out of time"
    if process.exitcode < 0:
        return f"killed by signal {-process.exitcode}"
    return "failed" if process.exitcode else "done"


def _in_process(stage: Stage, given: Session) -> None:
    os.setsid()
    module, function = stage.function.split(":")
    try:
        getattr(import_module(module), function)(given)
    except BaseException:  # noqa: BLE001 - any error is a result of this stage
        _error_file(given).write_text(traceback.format_exc())
        sys.stderr.write(traceback.format_exc())
        sys.exit(1)


def _error_file(given: Session) -> Path:
    return given.scratch / "error.txt"
