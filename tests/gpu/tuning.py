"""ReFL at the published sizes: seconds per iteration and peak memory by micro-batch, and a profile.

One micro-batch is measured, as all micro-batches of an iteration do the same work. Memory does not depend on the number
of denoising steps without a gradient, so memory is measured with `SHORT` steps. The time of a reward model update is
measured with `SHORT` steps, and the time of the omitted steps is added.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from refl.configs import ReflConfig
from refl.policies.diffusion import MultiStepPolicy
from tests.bench.refl_parts import LABELS, Bench, Measurement, Task, free_memory, parts_of
from tests.gpu.session import Session
from tests.support import random_networks

MICRO_BATCHES = (12, 3, 6, 1)  # smallest last, as they are the slowest
PROFILED = 3  # faces
SHORT = 5  # denoising steps
CONTEXT = 0.6 * 2**30  # bytes that CUDA uses outside torch's allocator, approximately
ROWS = 5  # of the profile


def diffbir(session: Session) -> None:
    tuning(session, "diffbir")


def osediff(session: Session) -> None:
    tuning(session, "osediff")


def open_bench(session: Session, base: str) -> Bench:
    """Open the networks in float32, as the trainer does, with the paper's batch."""
    config = random_networks.refl_config(base, tiny=session.tiny, **({"batch_size": 4} if session.tiny else {}))
    return Bench(
        random_networks.policy(base, session.device, tiny=session.tiny),
        random_networks.reward_model(session.device, tiny=session.tiny),
        random_networks.lpips(session.device),
        config,
        session.device,
    )


def tuning(session: Session, base: str) -> None:
    bench = open_bench(session, base)
    whole, config = bench.batch, bench.base_config
    million = sum(value.numel() for value in bench.parameters) / 1e6
    session.row("Setting", name="side in pixels", value=bench.policy.size)
    session.row("Setting", name="trained parameters, millions", value=million)
    session.row("Setting", name="faces per iteration", value=config.batch_size)
    bench.batch = whole.part(0, config.batch_size)
    with short_chain(bench):
        for name in ("step", "update"):  # allocates Adam's moments
            bench.run(Task(name, checkpointing=True))
    if session.on_gpu:
        resident = torch.cuda.memory_allocated() / 2**30
        session.row("Setting", name="GiB between iterations (networks, base, moments)", value=resident)
    adam = bench.run(Task("adam")).seconds
    micro_batches = [micro for micro in MICRO_BATCHES if micro <= config.batch_size and (not session.tiny or micro < 3)]
    for checkpointing in (True, False):
        for micro in micro_batches:
            bench.batch = whole
            _measure(session, bench, micro, checkpointing=checkpointing, adam=adam)
    bench.batch = whole.part(0, max(1, config.batch_size // PROFILED))
    _parts(session, bench)
    _profile(session, bench)


@contextmanager
def short_chain(bench: Bench) -> Iterator[int]:
    """Limit the policy to `SHORT` denoising steps. Yield the number of omitted steps."""
    policy = bench.policy
    if not isinstance(policy, MultiStepPolicy) or policy.steps <= SHORT:
        yield 0
        return
    steps, policy.steps = policy.steps, SHORT
    try:
        yield steps - SHORT
    finally:
        policy.steps = steps


def _measure(session: Session, bench: Bench, micro: int, *, checkpointing: bool, adam: float) -> None:
    config = bench.base_config
    known = {"micro-batch": micro, "checkpointing": checkpointing}
    bench.batch = bench.batch.part(0, config.batch_size // micro)
    task = Task("step", checkpointing=checkpointing)
    free_memory()
    with short_chain(bench) as left_out:
        bench.run_if_it_fits(task)  # a warm-up
        logging = bench.run_if_it_fits(task, with_norms=True)
        update = bench.run_if_it_fits(replace(task, name="update"))
        short = bench.run_if_it_fits(task)
    step = bench.run_if_it_fits(task)
    if step is None or short is None:
        session.row("Iterations", **known, **{"seconds per iteration": "out of memory"})
        return
    scale = config.batch_size / micro
    seconds = scale * (step.seconds - adam) + adam
    updating = scale * (update.seconds + (step.seconds - short.seconds if left_out else 0)) if update else None
    session.row(
        "Iterations",
        **known,
        **{
            "seconds per iteration": seconds,
            "seconds per reward model update": updating or "out of memory",
            "peak GiB": _gib(session, step.allocated),
            "GiB reserved": _gib(session, step.reserved),
            "peak GiB of an update": _gib(session, update.allocated) if update else None,
            "peak GiB with gradient norms": _gib(session, logging.allocated) if logging else "out of memory",
            "fits 24 / 48 / 80 GB": _fits(session, step, update, logging),
            f"hours for {_iterations():,}": (seconds + updating / config.frm_every) * _iterations() / 3600
            if updating
            else None,
        },
    )


def _iterations() -> int:
    return ReflConfig().iterations


def _gib(session: Session, bytes_: int) -> float | None:
    return bytes_ / 2**30 if session.on_gpu else None


def _fits(session: Session, *readings: Measurement | None) -> str | None:
    """Return for each card size whether the reserved memory fits. Steps that log need the most."""
    if not session.on_gpu:
        return None
    needed = max(reading.reserved for reading in readings if reading) + CONTEXT
    return " / ".join("yes" if needed <= size * 1e9 else "no" for size in (24, 48, 80))


def _parts(session: Session, bench: Bench) -> None:
    step = Task("step")
    measured = {}
    for part in parts_of(step):
        free_memory()
        measured[part] = bench.run_if_it_fits(part)
    for part, reading in measured.items():
        session.row(
            f"Parts of a micro-batch of {len(bench.batch.faces)}, without checkpointing",
            part=LABELS[part.name],
            seconds=reading.seconds if reading else "out of memory",
            **{"GiB above resident": _gib(session, reading.peak) if reading else None},
        )


def _profile(session: Session, bench: Bench) -> None:
    """Report the slowest operators of a micro-batch, and the share of time that the device is busy."""
    task = Task("step")
    if bench.run_if_it_fits(task) is None:
        return
    on_device = "self_device_time_total" if session.on_gpu else "self_cpu_time_total"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if session.on_gpu else [])]
    with short_chain(bench) as left_out:
        wall = bench.run(task).seconds
        with profile(activities=activities) as profiler:
            bench.run(task)
    events: list[Any] = [each for each in profiler.key_averages() if each.device_type.name == "CPU"]
    spent = {each.key: (getattr(each, on_device) / 1e6, each.count) for each in events}
    total = sum(seconds for seconds, _ in spent.values())
    omitted = f", {SHORT} of {SHORT + left_out} denoising steps" if left_out else ""
    table = f"Profile of a micro-batch of {len(bench.batch.faces)}, without checkpointing{omitted}"
    for name, (seconds, count) in sorted(spent.items(), key=lambda item: -item[1][0])[:ROWS]:
        session.row(table, operator=name, calls=count, seconds=seconds, share=seconds / total)
    calls = sum(count for _, count in spent.values())
    session.row(table, operator="all", calls=calls, seconds=total, share=1.0)
    session.row(table, operator="the micro-batch without the profiler", seconds=wall, share=wall / total)
