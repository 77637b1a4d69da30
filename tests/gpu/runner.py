"""Stages in processes of their own: started, waited for until their time is up, and accounted for."""

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

MIN_SECONDS = 5  # seconds; with less, a stage is not begun


@dataclass(frozen=True)
class Stage:
    """function: `module:name`, called with a `Session`. seconds: when it is killed. measures_time: such stages run
    alone; neighbours that measure none run side by side."""

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
    began: float


def preload(stages: list[Stage]) -> None:
    """Import what the stages use, so that their processes, forked from this one, need not. Computes nothing."""
    for module in {stage.function.partition(":")[0] for stage in stages}:
        try:
            import_module(module)
        except Exception:  # noqa: BLE001 - of a package that is missing or broken, anything
            traceback.print_exc()  # the stages that need it fail and report it


def run(stages: list[tuple[Stage, Session]], commit: str) -> list[str]:
    """Run stages side by side, and write how each ended: done, failed, killed or out of time.

    commit: of the code that is measured."""
    return [_finish(running, commit) for running in [_start(stage, given) for stage, given in stages]]


def _start(stage: Stage, given: Session) -> Running:
    process = None
    if given.seconds_left >= MIN_SECONDS:
        process = multiprocessing.get_context(given.start_method).Process(target=_in_process, args=(stage, given))
        process.start()
    return Running(stage, given, process, time.monotonic())


def _finish(running: Running, commit: str) -> str:
    given, process = running.given, running.process
    ended, error = "not started: no time was left", ""
    if process:
        process.join(max(0.0, given.seconds_left))
        ended = _ending(process)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with whatever it started
        process.kill()
        process.join()
        if ended == "failed" and _error_file(given).exists():
            error = _error_file(given).read_text()
    line = {"stage": running.stage.name, "ended": ended, "seconds": round(time.monotonic() - running.began, 1)}
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
    except BaseException:  # noqa: BLE001 - whatever it is, it is this stage's result
        _error_file(given).write_text(traceback.format_exc())
        sys.stderr.write(traceback.format_exc())
        sys.exit(1)


def _error_file(given: Session) -> Path:
    return given.scratch / "error.txt"
