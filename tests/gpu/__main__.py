"""What a trainer wants to know of a GPU, in one command of under 8 minutes.

    python -m tests.gpu [--out FOLDER] [--stages NAME ...] [--seconds 480] [--commit HASH]
    python -m tests.gpu --tiny                # all of it on a CPU, with tiny networks, in under 3 minutes

It needs neither Django nor a database nor a file of weights, only `rewardlab`, `refl` and `tests`; `tests.gpu.wheels`
fetches the packages that a machine without a registry lacks. Networks are of the published sizes with random weights.

Stages run one after the other, each in a process of its own with a time limit, the most valuable first. A result is
written as soon as it is known: results.jsonl (one line each) and report.md (tables, made anew after each stage). What
was cut off, ran out of memory or failed is a result too. The exit code is 1 if a check does not hold or a stage fails.
"""

import argparse
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

# Without it, asking whether there is a GPU would start CUDA in this process, and no fork of it could use the GPU.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from rewardlab.runs import code_version
from tests.gpu import session
from tests.gpu.session import RESULTS, TABLES, Session


@dataclass(frozen=True)
class Stage:
    """function: `module:name` in this package, called with a `Session`. seconds: when it is killed."""

    name: str
    title: str
    function: str
    seconds: int


STAGES = (
    Stage("machine", "The machine", "machine:machine", 40),
    Stage("parity", "CPU and GPU compute the same", "parity:parity", 80),
    Stage("resume", "Killed and resumed, bit for bit", "resume:resume", 80),
    Stage("diffbir", "ReFL of DiffBIR", "tuning:diffbir", 150),
    Stage("osediff", "ReFL of OSEDiff", "tuning:osediff", 70),
    Stage("frm", "Training of the reward model", "reward:reward", 90),
    Stage("inference", "Restorers and metrics", "inference:inference", 80),
    Stage("variants-frm", "Training of the reward model, otherwise computed", "variants:reward", 60),
    Stage("variants-osediff", "ReFL of OSEDiff, otherwise computed", "variants:osediff", 90),
    Stage("variants-diffbir", "ReFL of DiffBIR, otherwise computed", "variants:diffbir", 130),
)
START_METHODS = ("fork", "spawn")  # a fork need not import everything again


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="tiny networks, on the CPU unless --device says otherwise")
    parser.add_argument("--device", help="cuda, or cpu with --tiny")
    parser.add_argument("--out", type=Path, default=Path("var/gpu"), help="folder of the results")
    parser.add_argument(
        "--stages", nargs="+", choices=[stage.name for stage in STAGES],
        help="measure only these anew, and keep what the folder holds of the others",
    )  # fmt: skip
    parser.add_argument("--seconds", type=int, default=480, help="for all stages together")
    parser.add_argument("--commit", default="", help="of the code, where there is no repository to ask")
    options = parser.parse_args()
    device = options.device or ("cpu" if options.tiny else "cuda")
    if device == "cpu" and not options.tiny:
        parser.error("networks of the published sizes need a GPU; add --tiny for a CPU")
    wanted = [stage for stage in STAGES if not options.stages or stage.name in (*options.stages, "machine")]
    options.out.mkdir(parents=True, exist_ok=True)
    session.forget(options.out, {stage.name for stage in wanted})
    started = time.monotonic()
    preload()
    print(f"imports: {time.monotonic() - started:.1f} s", flush=True)
    methods = list(START_METHODS)
    work = Path(tempfile.mkdtemp(prefix="tests-gpu-"))
    for stage in wanted:
        ends = min(time.monotonic() + stage.seconds, started + options.seconds)
        given = Session(stage.name, device, options.tiny, options.out, work, ends, methods[0])
        ended = run(stage, given, options.commit or code_version()["commit"])
        if stage.name == "machine" and ended != "done" and len(methods) > 1:
            methods.pop(0)
            session.forget(options.out, {stage.name})
            ended = run(stage, replace(given, start_method=methods[0]), options.commit)
        write_report(options.out)
        if stage.name == "machine" and ended != "done":
            print(f"{device} cannot be used here, so nothing was measured: see {options.out / RESULTS}")
            return 1
    shutil.rmtree(work, ignore_errors=True)
    failed = session.failures(session.read(options.out))
    print((options.out / TABLES).read_text())
    print("\n".join([f"{time.monotonic() - started:.0f} s in all.", *(f"FAILED {each}" for each in failed)]))
    return 1 if failed else 0


def preload() -> None:
    """Import what the stages use, so that their processes, forked from this one, need not. Computes nothing."""
    for module in {stage.function.partition(":")[0] for stage in STAGES}:
        try:
            import_module(f"tests.gpu.{module}")
        except Exception:  # noqa: BLE001 - of a package that is missing or broken, anything
            traceback.print_exc()  # the stages that need it will say so again


def run(stage: Stage, given: Session, commit: str) -> str:
    """How the stage ended: done, failed, killed or out of time. commit: of the code that is measured."""
    began = time.monotonic()
    if given.seconds_left < 5:
        session.write(given.folder, {"stage": stage.name, "ended": "not started: no time was left", "seconds": 0})
        return "not started"
    context = multiprocessing.get_context(given.start_method)
    process = context.Process(target=_in_process, args=(stage, given))
    process.start()
    process.join(given.seconds_left)
    ended, error = "done", ""
    if process.is_alive():
        ended = "out of time"
    elif process.exitcode == 1:
        ended, error = "failed", _error_file(given).read_text()
    elif process.exitcode:
        ended = f"killed by signal {-process.exitcode}" if process.exitcode < 0 else f"exit code {process.exitcode}"
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # with whatever it started
    process.kill()
    process.join()
    line = {"stage": stage.name, "ended": ended, "seconds": round(time.monotonic() - began, 1), "commit": commit}
    session.write(given.folder, line | {"date": f"{datetime.now(UTC):%Y-%m-%d}"} | ({"error": error} if error else {}))
    return ended


def _in_process(stage: Stage, given: Session) -> None:
    os.setsid()
    module, function = stage.function.split(":")
    try:
        getattr(import_module(f"tests.gpu.{module}"), function)(given)
    except BaseException:  # noqa: BLE001 - whatever it is, it is this stage's result
        _error_file(given).write_text(traceback.format_exc())
        sys.stderr.write(traceback.format_exc())
        sys.exit(1)


def _error_file(given: Session) -> Path:
    return given.scratch / "error.txt"


def write_report(folder: Path) -> None:
    found = session.markdown(session.read(folder), {stage.name: stage.title for stage in STAGES})
    (folder / TABLES).write_text(f"# Measured by `python -m tests.gpu`\n\n{found}")


if __name__ == "__main__":
    sys.exit(main())
