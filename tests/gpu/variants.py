"""TF32, channels_last and torch.compile, as ratios to a plain run in the same process."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from rewardlab import manifest
from rewardlab.reward_model import batches, losses
from rewardlab.reward_model.train import PairTask
from rewardlab.training import acceleration, schedule
from tests.bench.refl_parts import Task
from tests.gpu.reward import frm_config
from tests.gpu.session import Session
from tests.gpu.tuning import open_bench
from tests.support import random_networks
from tests.support.preferences import write_preferences

SECONDS = 2.0  # of repetitions per variant
MICRO_BATCH = 3
COMPILE_SECONDS = 45  # with less time left, compiling is not started
COMPILED = "torch.compile of the transformer blocks"
TINY_BACKEND = "aot_eager"  # fast, and does not need a C++ compiler


def diffbir(session: Session) -> None:
    _tuning(session, "diffbir")


def osediff(session: Session) -> None:
    _tuning(session, "osediff")


def _tuning(session: Session, base: str) -> None:
    bench = open_bench(session, base)
    bench.batch = bench.batch.part(0, bench.base_config.batch_size // min(MICRO_BATCH, bench.base_config.batch_size))
    work = f"ReFL {base}, micro-batch of {len(bench.batch.faces)}, bf16"

    def run() -> float:
        return bench.run(Task("step")).seconds

    def compile_blocks() -> None:
        _compile(session, bench.policy)

    _compare(session, work, run, bench.policy, compile_blocks)


def reward(session: Session) -> None:
    folder, config = session.scratch, frm_config(tiny=session.tiny)
    count, size = config.faces_per_step, 64 if session.tiny else 224
    write_preferences(folder, train=count, gold=0, pictures=random_networks.pictures(count, size), size=size)
    groups = batches.group_by_face(manifest.read(folder / "manifest.jsonl")[1])
    model = random_networks.reward_model(session.device, tiny=session.tiny)
    dataset = batches.FaceDataset(groups, folder / "images", model.preprocess, model.tokenize(["a face"] * count))
    batch = batches.collate(dataset.__getitems__([schedule.Item(index) for index in range(count)]))
    batch = batch.to(torch.device(session.device))
    task = PairTask(model)

    def run() -> float:
        started = time.perf_counter()
        with torch.autocast(session.device, torch.bfloat16):
            loss = losses.preference_losses(task(batch).float(), batch.p_first).mean()
        loss.backward()
        model.zero_grad(set_to_none=True)
        _wait(session)
        return time.perf_counter() - started

    def compile_blocks() -> None:
        _compile(session, model)

    _compare(session, f"reward model, {count} faces, all layers trained, bf16", run, model, compile_blocks)


def _compile(session: Session, network: nn.Module) -> None:
    """Compile the transformer blocks. Tiny: only the first."""
    acceleration.compile_blocks(network, **({"backend": TINY_BACKEND, "most": 1} if session.tiny else {}))


def _compare(
    session: Session, work: str, run: Callable[[], float], module: nn.Module, compile_blocks: Callable[[], None]
) -> None:
    plain = _row(session, work, "plain", run, None)
    torch.backends.cudnn.allow_tf32 = False
    _row(session, work, "convolutions in float32 without TF32", run, plain)
    torch.backends.cudnn.allow_tf32 = True
    acceleration.allow_tf32(True)
    _row(session, work, "matrix products in float32 with TF32", run, plain)
    acceleration.allow_tf32(False)
    torch.backends.cudnn.benchmark = True
    _row(session, work, "cudnn.benchmark", run, plain)
    torch.backends.cudnn.benchmark = False
    module.to(memory_format=torch.channels_last)
    _row(session, work, "channels_last", run, plain)
    module.to(memory_format=torch.contiguous_format)
    _row(session, work, "plain again", run, plain)
    if session.seconds_left < COMPILE_SECONDS:
        session.row("Variants", work=work, variant=COMPILED, seconds="out of time")
        return
    started = time.perf_counter()
    compile_blocks()
    _row(session, work, COMPILED, run, plain, started=started)


def _row(
    session: Session,
    work: str,
    variant: str,
    run: Callable[[], float],
    plain: float | None,
    started: float | None = None,
) -> float | None:
    """Report a variant, also if it fails. started: when compiling started, which the first run includes."""
    try:
        first = run()
        warm = time.perf_counter() - started if started else None
        taken = [run()]
        while sum(taken) < SECONDS and len(taken) < (1 if session.tiny else 50):
            taken.append(run())
    except Exception as error:
        if plain is None:
            raise
        session.row("Variants", work=work, variant=variant, seconds=f"{type(error).__name__}: {str(error)[:200]}")
        return None
    seconds = statistics.median(taken)
    cells: dict[str, Any] = {"seconds": seconds, "ratio to plain": seconds / plain if plain else 1.0}
    session.row("Variants", work=work, variant=variant, **cells, **{"seconds of the first run": warm or first})
    return seconds


def _wait(session: Session) -> None:
    if session.on_gpu:
        torch.cuda.synchronize()
