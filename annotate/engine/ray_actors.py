"""Workers that are actors of a Ray cluster. Imported only where ray is installed."""

import logging
import platform
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    RaySystemError,
    RayTaskError,
    WorkerCrashedError,
)

from annotate.engine import worker
from annotate.engine.interface import Batch, EngineError


class _Actor:
    """The methods of a worker, in a process that Ray starts."""

    def __init__(self, given: worker.Surroundings) -> None:
        self.given: worker.Surroundings | None = given

    def open(self, pickled: bytes) -> worker.Started:
        if self.given is not None:
            self._prepare(self.given)
            self.given = None
        return worker.open_task(pickled)

    def _prepare(self, given: worker.Surroundings) -> None:
        if not Path(given.media_root).is_dir() and given.storages["images"]["BACKEND"].endswith(".Folder"):
            raise EngineError(
                f"The host of a worker has no folder {given.media_root}. Mount it there under the same path, or keep "
                "the images in a bucket (MEDIA_STORE)."
            )
        worker.prepare(given)

    def compute(self, rows: Batch) -> Any:
        return worker.compute(rows)


class RayWorker:
    """An actor. Ray itself repeats nothing: `annotate.engine.pool` does, and counts."""

    deaths: tuple[type[BaseException], ...] = (
        ActorDiedError,
        ActorUnavailableError,
        NodeDiedError,
        OutOfMemoryError,
        RaySystemError,
        WorkerCrashedError,
    )

    def __init__(self, given: worker.Surroundings, *, cpus: float, gpus: float) -> None:
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        actor: Any = ray.remote(_Actor)  # Ray's types know a class, but not its remote methods
        self.actor = actor.options(**options).remote(given)

    def open(self, pickled: bytes) -> "Future[worker.Started]":
        return _future(self.actor.open.remote(pickled))

    def compute(self, rows: Batch) -> "Future[Sequence[Any]]":
        return _future(self.actor.compute.remote(rows))

    def close(self, *, kill: bool) -> None:
        with suppress(RayError):
            ray.kill(self.actor)


def _future(call: Any) -> "Future[Any]":
    """Return a future that raises the error of the task itself, without Ray's report of where it was raised."""
    plain: Future[Any] = Future()

    def pass_on(ended: "Future[Any]") -> None:
        error = ended.exception()
        if error is None:
            plain.set_result(ended.result())
        else:
            plain.set_exception(error.cause if isinstance(error, RayTaskError) else error)

    call.future().add_done_callback(pass_on)
    return plain


def connect(address: str) -> None:
    """Connect to a cluster, unless this process is connected. Raises `EngineError`."""
    if ray.is_initialized():
        return
    try:
        ray.init(
            address=address,
            include_dashboard=False if address == "local" else None,
            log_to_driver=False,
            logging_level=logging.WARNING,
        )
    except (ConnectionError, RuntimeError, ValueError, RayError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EngineError(
            f"The Ray cluster {address} cannot be used ({reason}). Start it with `ray start --head`, and set "
            f"RAY_ADDRESS to its address. It must run Ray {ray.__version__} and Python {platform.python_version()}."
        ) from error


def unplaceable(*, cpus: float, gpus: float) -> str:
    """Return why no node of the cluster can hold a worker; empty if one can."""
    wanted = {"CPU": cpus, "GPU": gpus}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
        return ""
    words = ", ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in nodes)
    return (
        f"No node of the Ray cluster has {cpus:g} CPUs and {gpus:g} GPUs for a worker; the nodes have: "
        f"{words or 'none'}. Use lower --cpus-per-worker or --gpus-per-worker, or add a node. Then run the same "
        "command again."
    )
