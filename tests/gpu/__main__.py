"""Measure correctness, speed and memory of all trainings on a GPU, in under 8 minutes.

    python -m tests.gpu [--out FOLDER] [--stages NAME ...] [--seconds 480] [--commit HASH]
    python -m tests.gpu --tiny                # the same on a CPU with tiny networks, in under 3 minutes

It needs `rewardlab`, `refl` and `tests`, but not Django, a database or weights files. `tests.gpu.wheels` downloads
packages for a machine without access to a registry. Networks have the published sizes and random weights.

Stages run in sequence, the most important first, each in its own process with a time limit. Results are written
immediately: results.jsonl (a line per result) and report.md (tables, rewritten after each stage). Timeouts, failures
and out-of-memory errors are results, too. The exit code is 1 if a check or a stage fails.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from itertools import groupby
from pathlib import Path

# Otherwise torch.cuda.is_available() would initialise CUDA here, and forked processes could not use the GPU.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from rewardlab.training.runs import code_version
from tests.gpu import session
from tests.gpu.runner import Stage, preload, run
from tests.gpu.session import RESULTS, TABLES, Session

STAGES = (
    Stage("machine", "The machine", "tests.gpu.machine:machine", 40),
    Stage("parity", "CPU and GPU agree", "tests.gpu.parity:parity", 90, measures_time=False),
    Stage("options", "Options on and off", "tests.gpu.options:options", 90, measures_time=False),
    Stage("resume", "Resuming after a kill, bit for bit", "tests.gpu.resume:resume", 90, measures_time=False),
    Stage("diffbir", "ReFL of DiffBIR", "tests.gpu.tuning:diffbir", 130),
    Stage("osediff", "ReFL of OSEDiff", "tests.gpu.tuning:osediff", 75),
    Stage("frm", "Training of the reward model", "tests.gpu.reward:reward", 75),
    Stage("inference", "Restorers and metrics", "tests.gpu.inference:inference", 75),
    Stage("variants-frm", "Variants of reward model training", "tests.gpu.variants:reward", 60),
    Stage("variants-osediff", "Variants of ReFL of OSEDiff", "tests.gpu.variants:osediff", 90),
    Stage("variants-diffbir", "Variants of ReFL of DiffBIR", "tests.gpu.variants:diffbir", 130),
)
MACHINE = STAGES[0].name
SECONDS = 480
# On a CPU times do not matter, so a slow machine must not fail the run.
TINY_SECONDS, TINY_TIME_FACTOR = 1800, 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="use tiny networks, on the CPU unless --device is given")
    parser.add_argument("--device", help="cuda, or cpu with --tiny")
    parser.add_argument("--out", type=Path, default=Path("var/gpu"), help="folder of the results")
    parser.add_argument(
        "--stages", nargs="+", choices=[stage.name for stage in STAGES],
        help="run only these stages, and keep earlier results of the others",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=int, help=f"time limit of all stages together (default {SECONDS}; --tiny: {TINY_SECONDS})"
    )
    parser.add_argument("--commit", default="", help="commit of the code, if it is not in a git repository")
    options = parser.parse_args()
    device = options.device or ("cpu" if options.tiny else "cuda")
    if device == "cpu" and not options.tiny:
        parser.error("networks of the published sizes need a GPU: add --tiny to use a CPU")
    started = time.monotonic()
    wanted = [stage for stage in STAGES if not options.stages or stage.name in (*options.stages, MACHINE)]
    options.out.mkdir(parents=True, exist_ok=True)
    session.forget(options.out, {stage.name for stage in wanted})
    commit = options.commit or code_version()["commit"]
    preload(wanted)
    print(f"imports: {time.monotonic() - started:.1f} s", flush=True)
    work = Path(tempfile.mkdtemp(prefix="tests-gpu-"))
    deadline = started + (options.seconds or (TINY_SECONDS if options.tiny else SECONDS))
    given = Session(MACHINE, device, options.tiny, options.out, work, deadline, start_method="fork")
    for group in in_groups(wanted):
        pairs = [(stage, _for_stage(given, stage)) for stage in group]
        endings = run(pairs, commit)
        if group[0].name == MACHINE and endings != ["done"]:
            # An imported library may have initialised CUDA. Then forked processes cannot use it, but spawned ones can.
            given = replace(given, start_method="spawn")
            session.forget(options.out, {MACHINE})
            endings = run([(group[0], _for_stage(given, group[0]))], commit)
        write_report(options.out)
        if group[0].name == MACHINE and endings != ["done"]:
            print(f"{device} cannot be used on this machine, so nothing was measured: see {options.out / RESULTS}")
            return 1
    shutil.rmtree(work, ignore_errors=True)
    failed = session.failures(session.read(options.out))
    print((options.out / TABLES).read_text())
    print("\n".join([f"{time.monotonic() - started:.0f} s in total.", *(f"FAILED {each}" for each in failed)]))
    return 1 if failed else 0


def in_groups(stages: list[Stage]) -> list[list[Stage]]:
    """Group stages that run in parallel: adjacent stages that do not measure time."""
    numbered = enumerate(stages)
    return [
        [stage for _, stage in group]
        for _, group in groupby(numbered, key=lambda item: item[0] if item[1].measures_time else -1)
    ]


def _for_stage(given: Session, stage: Stage) -> Session:
    seconds = stage.seconds * (TINY_TIME_FACTOR if given.tiny else 1)
    return replace(given, stage=stage.name, deadline=min(time.monotonic() + seconds, given.deadline))


def write_report(folder: Path) -> None:
    found = session.markdown(session.read(folder), {stage.name: stage.title for stage in STAGES})
    (folder / TABLES).write_text(f"# Measured by `python -m tests.gpu`\n\n{found}")


if __name__ == "__main__":
    sys.exit(main())
