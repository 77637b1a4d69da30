"""Images per second of restorers and metrics at 512 px, one at a time and in batches."""

import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from refl.restorers.spandrel_restorer import CheckpointRestorer
from refl.restorers.spec import RestorerSpec
from rewardlab import metrics
from rewardlab.images import to_tensor
from rewardlab.training.loop import is_out_of_memory
from tests.bench.refl_parts import free_memory
from tests.gpu.session import Session
from tests.support import random_networks

BATCHES = (1, 16)
SECONDS = 1.0  # of repetitions per case
CAPTION = "The face of a smiling person."


def inference(session: Session) -> None:
    size = 64 if session.tiny else 512
    batches = (1, 2) if session.tiny else BATCHES
    pictures = to_tensor(list(random_networks.pictures(max(batches), size)))
    _metrics(session, pictures, batches)
    _checkpoints(session, pictures, batches)
    for base in ("osediff", "diffbir"):
        _policy(session, base, pictures, batches)
        free_memory()


def _rate(
    session: Session, table: str, batches: tuple[int, ...], pictures: Tensor, run: Callable, **known: Any
) -> None:
    """Report a row: the median rate for each batch size."""
    cells: dict[str, Any] = {}
    if session.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    for batch in batches:
        try:
            seconds = _seconds(session, lambda batch=batch: run(pictures[:batch]))
            cells[f"images/s, batch {batch}"] = batch / seconds
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            cells[f"images/s, batch {batch}"] = "out of memory"
    peak = torch.cuda.max_memory_allocated() / 2**30 if session.on_gpu else None
    session.row(table, **known, **cells, **{"peak GiB": peak})


def _seconds(session: Session, run: Callable[[], Any]) -> float:
    """Return the median after a warm-up. A call over 4 `SECONDS` is not repeated, and has no warm-up."""
    taken: list[float] = []
    while len(taken) < 2 or (sum(taken) < SECONDS and len(taken) < (3 if session.tiny else 20)):
        started = time.perf_counter()
        run()
        if session.on_gpu:
            torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
        if taken[0] > 4 * SECONDS:
            return taken[0]
    return statistics.median(taken[1:])


def _metrics(session: Session, pictures: Tensor, batches: tuple[int, ...]) -> None:
    """Measure available metrics, LPIPS with a random trunk, and the reward model with random weights."""
    reference = (pictures + 0.05 * torch.randn_like(pictures)).clamp(0, 1)
    for name in metrics.METRICS:
        if metrics.availability(name) is not None or name == "lpips":
            continue
        measure = metrics.load(name, session.device)

        def run(batch: Tensor, measure: Callable = measure) -> None:
            # Identity is undefined without a face. The time of the detection still counts.
            with suppress(metrics.UndefinedMetric):
                measure(batch, reference[: len(batch)], ["A face."] * len(batch))

        _rate(session, "Metrics", batches, pictures, run, metric=name)
    network = random_networks.lpips(session.device, "alex")
    with torch.no_grad():
        _rate(
            session, "Metrics", batches, pictures, metric="lpips (random trunk)",
            run=lambda batch: network(batch.to(session.device), reference[: len(batch)].to(session.device)).cpu(),
        )  # fmt: skip
        model = random_networks.reward_model(session.device, tiny=session.tiny)
        for name, enabled in (("fp32", False), ("bf16", True)):

            def score(batch: Tensor, enabled: bool = enabled) -> None:
                with torch.autocast(session.device, torch.bfloat16, enabled=enabled):
                    model.score(batch.to(session.device), CAPTION).cpu()

            _rate(session, "Metrics", batches, pictures, score, metric=f"reward model, {name}")


def _checkpoints(session: Session, pictures: Tensor, batches: tuple[int, ...]) -> None:
    """Measure restorers that spandrel opens, from files with random weights."""
    from spandrel.architectures.ESRGAN import ESRGAN
    from spandrel.architectures.GFPGAN import GFPGAN

    makers: dict[str, Callable[[], Any]] = {"Real-ESRGAN x4": lambda: ESRGAN(num_blocks=2 if session.tiny else 23)}
    if not session.tiny:
        makers["GFPGAN"] = GFPGAN
    for name, make in makers.items():
        file = session.scratch / f"{name.split()[0]}.safetensors"
        with random_networks.seeded("cpu"):
            save_file({key: value.contiguous() for key, value in make().state_dict().items()}, file)
        spec = RestorerSpec(name=name, kind="network", title=name, licence="random weights", weights=file)
        restorer = CheckpointRestorer(spec, file, session.device)
        _rate(session, "Restorers", batches, pictures, restorer.restore, restorer=name, precision="fp32")


def _policy(session: Session, base: str, pictures: Tensor, batches: tuple[int, ...]) -> None:
    policy = random_networks.policy(base, session.device, tiny=session.tiny).requires_grad_(False)
    for name, enabled in (("bf16", True), ("fp32", False)):

        def restore(batch: Tensor, enabled: bool = enabled) -> None:
            with torch.autocast(session.device, torch.bfloat16, enabled=enabled):
                policy.restore(batch.to(session.device), [""] * len(batch), range(len(batch))).cpu()

        _rate(session, "Restorers", batches, pictures, restore, restorer=base, precision=name)
