"""What a trainer wants to know of a GPU, in one command of under 8 minutes.

    python -m tests.gpu [--out FOLDER] [--stages NAME ...] [--seconds 480] [--commit HASH]
    python -m tests.gpu --tiny                # all of it on a CPU, with tiny networks, in under 3 minutes

It needs neither Django nor a database nor a file of weights, only `rewardlab`, `refl` and `tests`; `tests.gpu.wheels`
fetches the packages that a machine without a registry lacks. Networks are of the published sizes with random weights.

Stages run one after the other, each in a process of its own with a time limit, the most valuable first. A result is
written as soon as it is known: results.jsonl (one line each) and report.md (tables, rewritten after each stage). What
was cut off, ran out of memory or failed is a result too. The exit code is 1 if a check does not hold or a stage fails.
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

# Without it, asking whether there is a GPU would start CUDA in this process, and no fork of it could use the GPU.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from rewardlab.training.runs import code_version
from tests.gpu import session
from tests.gpu.runner import Stage, preload, run
from tests.gpu.session import RESULTS, TABLES, Session

STAGES = (
    Stage("machine", "The machine", "tests.gpu.machine:machine", 40),
    Stage("parity", "CPU and GPU compute the same", "tests.gpu.parity:parity", 90, measures_time=False),
    Stage("resume", "Killed and resumed, bit for bit", "tests.gpu.resume:resume", 90, measures_time=False),
    Stage("diffbir", "ReFL of DiffBIR", "tests.gpu.tuning:diffbir", 130),
    Stage("osediff", "ReFL of OSEDiff", "tests.gpu.tuning:osediff", 75),
    Stage("frm", "Training of the reward model", "tests.gpu.reward:reward", 75),
    Stage("inference", "Restorers and metrics", "tests.gpu.inference:inference", 75),
    Stage("variants-frm", "Training of the reward model, computed otherwise", "tests.gpu.variants:reward", 60),
    Stage("variants-osediff", "ReFL of OSEDiff, computed otherwise", "tests.gpu.variants:osediff", 90),
    Stage("variants-diffbir", "ReFL of DiffBIR, computed otherwise", "tests.gpu.variants:diffbir", 130),
)
MACHINE = STAGES[0].name
SECONDS = 480
# A busy CPU must not fail a run whose times nobody reads.
TINY_SECONDS, TINY_TIME_FACTOR = 1800, 6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="tiny networks, on the CPU unless --device says otherwise")
    parser.add_argument("--device", help="cuda, or cpu with --tiny")
    parser.add_argument("--out", type=Path, default=Path("var/gpu"), help="folder of the results")
    parser.add_argument(
        "--stages", nargs="+", choices=[stage.name for stage in STAGES],
        help="measure only these again, and keep the folder's results of the others",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=int, help=f"for all stages together (default {SECONDS}; --tiny: {TINY_SECONDS})"
    )
    parser.add_argument("--commit", default="", help="commit of the code, if there is no repository")
    options = parser.parse_args()
    device = options.device or ("cpu" if options.tiny else "cuda")
    if device == "cpu" and not options.tiny:
        parser.error("networks of the published sizes need a GPU; add --tiny for a CPU")
    started = time.monotonic()
    wanted = [stage for stage in STAGES if not options.stages or stage.name in (*options.stages, MACHINE)]
    options.out.mkdir(parents=True, exist_ok=True)
    session.forget(options.out, {stage.name for stage in wanted})
    commit = options.commit or code_version()["commit"]
    preload(wanted)
    print(f"imports: {time.monotonic() - started:.1f} s", flush=True)
    work = Path(tempfile.mkdtemp(prefix="tests-gpu-"))
    ends = started + (options.seconds or (TINY_SECONDS if options.tiny else SECONDS))
    given = Session(MACHINE, device, options.tiny, options.out, work, ends, start_method="fork")
    for group in in_groups(wanted):
        pairs = [(stage, _for_stage(given, stage)) for stage in group]
        endings = run(pairs, commit)
        if group[0].name == MACHINE and endings != ["done"]:
            # A library may have started CUDA while it was imported: then no fork can use it, but a new process can.
            given = replace(given, start_method="spawn")
            session.forget(options.out, {MACHINE})
            endings = run([(group[0], _for_stage(given, group[0]))], commit)
        write_report(options.out)
        if group[0].name == MACHINE and endings != ["done"]:
            print(f"{device} cannot be used here, so nothing was measured: see {options.out / RESULTS}")
            return 1
    shutil.rmtree(work, ignore_errors=True)
    failed = session.failures(session.read(options.out))
    print((options.out / TABLES).read_text())
    print("\n".join([f"{time.monotonic() - started:.0f} s in all.", *(f"FAILED {each}" for each in failed)]))
    return 1 if failed else 0


def in_groups(stages: list[Stage]) -> list[list[Stage]]:
    """What runs side by side: neighbours that measure no time."""
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
