"""Processor seconds of a training step of each kind in `reproduce --preset compact`, eight faces a step.

    OMP_NUM_THREADS=1 python -m tests.bench.compact_steps FOLDER

FOLDER is that of a finished `reproduce --table 3 5 8 --preset compact --size tiny`, of which a copy is used. Every
tenth step of a tuning costs more: it also measures the gradient of each loss. Here that is the last one.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from tests.bench.machine import describe

REWARDS = ("--frm", "frm", "--judge", "judge", "--dataset", "demo", "--held-out", "2", "--batch-size", "8")
COMMANDS = {
    "reward model": ("train_frm", "--backbone", "compact", "--dataset", "demo"),
    "one-step base": ("train_base", "--dataset", "demo", "--held-out", "2"),
    "multi-step base": ("train_base", "--variant", "multi-step", "--stage-1", "one-step", "--dataset", "demo",
                        "--held-out", "2"),
    "tuning, one step": ("refl", "--base", "compact", "--base-run", "one-step", *REWARDS),
    "tuning, N = 1": ("refl", "--base", "compact-multi-step", "--base-run", "multi-step", "--backprop-steps", "1",
                      *REWARDS),
    "tuning, all steps": ("refl", "--base", "compact-multi-step", "--base-run", "multi-step", *REWARDS),
}  # fmt: skip
LENGTH = ("--iterations", "5", "--log-every", "10", "--save-every", "10", "--evaluate-every", "1000", "--device", "cpu")


def main(folder: Path) -> None:
    import django

    django.setup()
    from django.core.management import call_command

    from rewardlab.training.loop import Loop

    stamps: list[float] = []
    show = Loop.show

    def stamped(self: Loop, **shown: float | None) -> None:
        stamps.append(time.process_time())
        show(self, **shown)

    Loop.show = stamped
    call_command("migrate", "--verbosity", "0")
    print(describe("torch", "diffusers", "open_clip_torch"))
    for number, (title, words) in enumerate(COMMANDS.items()):
        stamps.clear()
        with Path(os.devnull).open("w") as nowhere:
            call_command(*words, *LENGTH, "--run", f"bench-{number}", stdout=nowhere)
        steps = [after - before for before, after in pairwise(stamps)]
        print(f"{title:<20} {statistics.median(steps[:-1]):6.2f} s, the last {steps[-1]:6.2f} s", flush=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(sys.argv[1], Path(place) / "copy"))
        os.environ |= {"DATA_ROOT": str(copy), "DJANGO_SETTINGS_MODULE": "annotate.settings"}
        main(copy)
