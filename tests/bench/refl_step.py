"""Time and peak memory of a ReFL step of the compact bases on a CPU, and their ratios to the sum of the parts.

`python -m tests.bench.refl_step [--rounds N] [--batch N] [--backprop-steps N ...]`. On a GPU: `python -m tests.gpu`.

Gradient norms, which the trainer computes every 10 steps, are not included. The parts, all without checkpointing, are:
the full trajectory without gradients; the backward pass of the last N steps (and of the latents' update, without the
forward pass); forward and backward of decoder, reward model, LPIPS and wavelets; the frozen network's calls of Eq. 5;
Adam. A step without overhead has the ratio 1. Checkpointing runs forward passes twice; its ratio shows the cost.

Steps and parts are timed alternately in rounds. A ratio compares times of one round. Tables have medians, with minimum
and maximum in parentheses. Peak memory is measured above the memory that is resident between steps (networks, their
base, Adam's moments), as the increase of `ru_maxrss`. Each kind of step runs once in a fresh process with one thread;
the parts of a base run in sequence in another. First, a run on one small face loads libraries and allocates Adam's
moments, free memory is returned to the system, and the peak is reset to the resident memory (loading needs more).
MALLOC_MMAP_THRESHOLD_ makes these processes return freed blocks immediately, so that results are repeatable; with the
default, a step needed up to a quarter more. The sum of the parts' peaks is the need of a step that keeps all in memory.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from refl import configs
from refl.policies import compact
from refl.policies.diffusion import MultiStepPolicy
from refl.policies.policy import ALL_STEPS, Policy
from rewardlab import tables
from rewardlab.metrics.perceptual import load_network
from rewardlab.reward_model import backbones
from tests.bench.machine import describe
from tests.bench.refl_parts import LABELS, OF_KEPT, Bench, Task, faces, free_memory, parts_of, total
from tests.support import diffusion

PACKAGES = ("torch", "diffusers", "peft", "open_clip_torch", "timm", "transformers", "accelerate")
COMPACT = ("multi-step", "one-step")
CHAIN = 20  # steps of the compact chain; with its default of six, N = 5 would hardly differ from all


def open_compact(base: str, batch: int) -> Bench:
    with diffusion.seeded(0), tempfile.TemporaryDirectory() as folder:
        parts = compact.networks(base)
        if base == "multi-step":
            parts["stage_1"] = compact.networks("one-step")["unet"]
        compact.save(parts, base, Path(folder))
        policy = compact.load(Path(folder))
    if isinstance(policy, MultiStepPolicy):
        policy.start = CHAIN / policy.steps
    config = replace(configs.PRESETS["compact"], batch_size=batch)
    return Bench(policy, backbones.open_compact(seed=0), load_network("vgg"), config, "cpu")


def peaks_alone(base: str, tasks: Sequence[Task], batch: int) -> list[int]:
    """Return the peak bytes of each task. Call this in a fresh process."""
    torch.set_num_threads(1)
    bench = open_compact(base, batch)
    whole, small, found = bench.batch, faces(1, 64), []
    bench.batch = small
    bench.run(Task("step"))  # allocates Adam's moments
    for task in tasks:
        bench.batch = small
        bench.run(task)
        free_memory()
        bench.batch = whole
        found.append(bench.run(task).peak)
    return found


def all_peaks(wanted: Sequence[tuple[str, Task]], batch: int) -> dict[tuple[str, Task], int]:
    steps = [(base, [task]) for base, task in wanted if task.name == "step"]
    parts = [(base, [task for of, task in wanted if of == base and task.name != "step"]) for base in COMPACT]
    os.environ["MALLOC_MMAP_THRESHOLD_"] = str(2**17)  # for the processes started below
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["refl.train_refl", "tests.support.diffusion"])  # import once for all processes
    with ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as pool:
        running = [(base, tasks, pool.submit(peaks_alone, base, tasks, batch)) for base, tasks in parts + steps]
        return {
            (base, task): peak
            for base, tasks, future in running
            for task, peak in zip(tasks, future.result(), strict=True)
        }


def time_in_rounds(benches: dict[str, Bench], wanted: list[tuple[str, Task]], rounds: int) -> dict:
    """Return the seconds of each task in each round. The order of tasks rotates from round to round."""
    seconds: dict[tuple[str, Task], list[float]] = {key: [] for key in wanted}
    for number in range(rounds):
        shift = number * len(wanted) // rounds
        for base, task in [*wanted[shift:], *wanted[:shift]]:
            seconds[base, task].append(benches[base].run(task).seconds)
    return seconds


def spread(values: Sequence[float], digits: int = 2) -> str:
    low, middle, high = (f"{each:.{digits}f}" for each in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def ratios(step: tuple[str, Task], seconds: dict[tuple[str, Task], list[float]]) -> list[float]:
    base, task = step
    rounds = range(len(seconds[step]))
    sums = [total(task, {part: seconds[base, part][number] for part in parts_of(task)}) for number in rounds]
    return [taken / whole for taken, whole in zip(seconds[step], sums, strict=True)]


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    print("\n" + tables.markdown(head, rows), flush=True)


def kept_label(kept: int, policy: Policy) -> str:
    if kept != ALL_STEPS:
        return str(kept)
    return f"all {len(policy.timesteps())}" if isinstance(policy, MultiStepPolicy) else "all 1"


def kept_of(policy: Policy, wanted: Sequence[int]) -> list[int]:
    """Return the values of N that apply to a policy: only 1 for a one-step base."""
    return list(wanted) if isinstance(policy, MultiStepPolicy) else [1]


def measure_compact(batch: int, wanted_kept: Sequence[int], rounds: int) -> None:
    benches = {base: open_compact(base, batch) for base in COMPACT}
    steps = [
        (base, Task("step", kept, checkpointing=checkpointing))
        for base, bench in benches.items()
        for kept in kept_of(bench.policy, wanted_kept)
        for checkpointing in (False, True)
    ]
    parts = list(dict.fromkeys((base, part) for base, step in steps for part in parts_of(step)))
    for base in benches:  # a warm-up
        benches[base].run(Task("step"))
    seconds = time_in_rounds(benches, steps + parts, rounds)
    peaks = all_peaks(steps + parts, batch)
    print(f"\nCompact bases, {benches[COMPACT[0]].policy.size} px, batch {batch}, {rounds} rounds.")
    print_table(
        ("base", "N", "checkpointing", "seconds per step", "ratio to the parts", "peak MiB", "ratio to the parts"),
        [
            (
                base,
                kept_label(step.kept, benches[base].policy),
                "on" if step.checkpointing else "off",
                spread(seconds[base, step]),
                spread(ratios((base, step), seconds)),
                f"{peaks[base, step] / 2**20:.0f}",
                f"{peaks[base, step] / sum(peaks[base, part] for part in parts_of(step)):.2f}",
            )
            for base, step in steps
        ],
    )
    print_table(
        ("base", "part", "N", "seconds", "peak MiB"),
        [
            (
                base,
                LABELS[part.name],
                kept_label(part.kept, benches[base].policy) if part.name in OF_KEPT else "",
                spread(seconds[base, part], 3),
                f"{peaks[base, part] / 2**20:.0f}",
            )
            for base, part in parts
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backprop-steps", type=int, nargs="+", default=(1, 5, ALL_STEPS), help="N; 0: all")
    options = parser.parse_args()
    print(describe(*PACKAGES) | {"device": f"cpu, {torch.get_num_threads()} threads"}, flush=True)
    started, load_before = time.perf_counter(), os.getloadavg()[0]
    measure_compact(options.batch, options.backprop_steps, options.rounds)
    load = f"load {load_before:.1f} before, {os.getloadavg()[0]:.1f} after"
    print(f"\nMeasured in {time.perf_counter() - started:.0f} s; {load}.")


if __name__ == "__main__":
    main()
