"""ReFL at the published sizes: seconds of an iteration and peak memory by micro-batch, and where the time goes."""

from dataclasses import replace
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from refl.configs import ReflConfig
from tests import random_networks
from tests.bench.refl_parts import LABELS, Bench, Reading, Task, give_back_memory, parts_of
from tests.gpu.session import Session

MICRO_BATCHES = (12, 3, 6, 1)  # the smallest last: they take the longest
PROFILED = 3  # faces
CONTEXT = 0.6 * 2**30  # bytes of a card that CUDA takes beside torch's allocator, about
ROWS = 5  # of the profile


def diffbir(session: Session) -> None:
    tuning(session, "diffbir")


def osediff(session: Session) -> None:
    tuning(session, "osediff")


def open_bench(session: Session, base: str) -> Bench:
    """Networks in float32 on the device, as the trainer has them, and the paper's batch."""
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
    session.row("Setting", name="parameters that train, millions", value=million)
    session.row("Setting", name="faces an iteration", value=config.batch_size)
    for name in ("step", "update"):  # makes Adam's moments
        bench.batch = whole.part(0, config.batch_size)
        bench.run(Task(name, checkpointing=True))
    if session.on_gpu:
        resident = torch.cuda.memory_allocated() / 2**30
        session.row("Setting", name="GiB between iterations (networks, base, moments)", value=resident)
    adam = bench.run(Task("adam")).seconds
    updates: dict[int, Reading | None] = {}
    micro_batches = [micro for micro in MICRO_BATCHES if micro <= config.batch_size and (not session.tiny or micro < 3)]
    for checkpointing in (True, False):
        for micro in micro_batches:
            bench.batch = whole
            _measure(session, bench, micro, updates, checkpointing=checkpointing, adam=adam)
    bench.batch = whole.part(0, max(1, config.batch_size // PROFILED))
    _parts(session, bench)
    _profile(session, bench)


def _measure(
    session: Session, bench: Bench, micro: int, updates: dict[int, Reading | None], *, checkpointing: bool, adam: float
) -> None:
    """One micro-batch is measured: an iteration's others do the same work. updates: of the reward model, the same
    with and without checkpointing of the restorer, by micro-batch."""
    config = bench.base_config
    known = {"micro-batch": micro, "checkpointing": checkpointing}
    bench.batch = bench.batch.part(0, config.batch_size // micro)
    task = Task("step", checkpointing=checkpointing)
    logging = _after_freeing(bench, task, with_norms=True)  # a warm-up, too
    step = _after_freeing(bench, task)
    if step is None:
        session.row("Iterations", **known, **{"seconds an iteration": "out of memory"})
        return
    if micro not in updates:
        updates[micro] = _after_freeing(bench, replace(task, name="update"))
    update = updates[micro]
    scale = config.batch_size / micro
    seconds = scale * (step.seconds - adam) + adam
    updating = scale * update.seconds if update else None
    session.row(
        "Iterations",
        **known,
        **{
            "seconds an iteration": seconds,
            "seconds an update of the reward model": updating or "out of memory",
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


def _after_freeing(bench: Bench, task: Task, *, with_norms: bool = False) -> Reading | None:
    give_back_memory()
    return bench.run_if_it_fits(task, with_norms=with_norms)


def _gib(session: Session, bytes_: int) -> float | None:
    return bytes_ / 2**30 if session.on_gpu else None


def _fits(session: Session, *readings: Reading | None) -> str | None:
    """Whether the allocator took no more than such a card has; a logging step is what takes most."""
    if not session.on_gpu:
        return None
    needed = max(reading.reserved for reading in readings if reading) + CONTEXT
    return " / ".join("yes" if needed <= size * 1e9 else "no" for size in (24, 48, 80))


def _parts(session: Session, bench: Bench) -> None:
    step = Task("step")
    measured = {}
    for part in parts_of(step):
        give_back_memory()
        measured[part] = bench.run_if_it_fits(part)
    for part, reading in measured.items():
        session.row(
            f"Parts of a micro-batch of {len(bench.batch.faces)}, without checkpointing",
            part=LABELS[part.name],
            seconds=reading.seconds if reading else "out of memory",
            **{"GiB above what lies there": _gib(session, reading.peak) if reading else None},
        )


def _profile(session: Session, bench: Bench) -> None:
    """The operators that take most of the device's time in a micro-batch, and how busy the device is."""
    task = Task("step")
    if bench.run_if_it_fits(task) is None:
        return
    wall = bench.run(task).seconds
    on_device = "self_device_time_total" if session.on_gpu else "self_cpu_time_total"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if session.on_gpu else [])]
    with profile(activities=activities) as profiler:
        bench.run(task)
    events: list[Any] = [each for each in profiler.key_averages() if each.device_type.name == "CPU"]
    spent = {each.key: (getattr(each, on_device) / 1e6, each.count) for each in events}
    everything = sum(seconds for seconds, _ in spent.values())
    table = f"Profile of a micro-batch of {len(bench.batch.faces)}, without checkpointing"
    for name, (seconds, count) in sorted(spent.items(), key=lambda item: -item[1][0])[:ROWS]:
        session.row(table, operator=name, calls=count, seconds=seconds, share=seconds / everything)
    session.row(
        table, operator="all, of the seconds without the profiler", calls=sum(count for _, count in spent.values()),
        seconds=wall, share=everything / wall,
    )  # fmt: skip
