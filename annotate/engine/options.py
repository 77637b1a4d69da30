"""Which engine computes a stage, chosen by options."""

import os
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any, Literal

from annotate.engine.in_process import InProcess
from annotate.engine.interface import Engine, EngineError
from annotate.engine.ray_address import address, ray_missing
from annotate.engine.worker import surroundings


@dataclass(frozen=True)
class EngineOptions:
    """name: `local`, or `ray` for a cluster. workers: how many compute at once. cpus, gpus: what each asks a cluster
    for. shares_gpus: local workers divide the GPUs of this machine, each using one."""

    name: Literal["local", "ray"] = "local"
    workers: int = 1
    cpus: float = 1.0
    gpus: float = 0.0
    shares_gpus: bool = False

    def engine(self) -> Engine:
        """Return the engine, which starts its workers when it opens a task. Raises `EngineError`."""
        if self.name == "ray":
            return self._ray()
        if self.workers == 1:
            return InProcess()
        cores = os.cpu_count() or 1
        if self.workers > (most := max(2, cores)):
            raise EngineError(f"--workers {self.workers}: this machine has {cores} cores. Use at most {most}.")
        from annotate.engine.local import LocalWorker
        from annotate.engine.pool import Pool

        given = surroundings(threads=max(1, cores // self.workers))
        gpus = cycle(_visible_gpus() if self.shares_gpus else [""])
        return Pool(lambda: LocalWorker(replace(given, gpu=next(gpus))), self.workers)

    def _ray(self) -> Engine:
        if reason := ray_missing():
            raise EngineError(reason)
        from annotate.engine import ray_actors
        from annotate.engine.pool import Pool

        wanted: dict[str, Any] = {"cpus": self.cpus, "gpus": self.gpus}
        ray_actors.connect(address())
        if reason := ray_actors.unplaceable(**wanted):
            raise EngineError(reason)
        given = surroundings()
        return Pool(
            lambda: ray_actors.RayWorker(given, **wanted), self.workers, lambda: ray_actors.unplaceable(**wanted)
        )


def _visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    if given := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return given.split(",")
    return [str(number) for number in range(torch.cuda.device_count())] or [""]
