"""The side of a worker: settings without a database, one opened task, and the end together with the driver."""

import multiprocessing
import os
import pickle
import signal
import socket
import threading
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from django.apps import AppConfig

from annotate.engine.interface import Batch, EngineError, Opened, Task


class WorkerApp(AppConfig):
    """The database tables' classes alone, without what the site starts with."""

    name = "annotate"


APPS = ["django.contrib.auth", "django.contrib.contenttypes", f"{__name__}.WorkerApp"]


@dataclass(frozen=True)
class Surroundings:
    """What a worker needs to know of the driver: the folder and the storages of images, and its number of threads."""

    media_root: str
    storages: dict[str, Any]
    umask: int
    threads: int = 0  # 0: as the environment says
    gpu: str = ""  # as CUDA_VISIBLE_DEVICES names it; empty: as the environment says


@dataclass(frozen=True)
class Started:
    """A worker that has opened its task."""

    info: Any
    place: str  # host and process, for messages


def surroundings(threads: int = 0) -> Surroundings:
    """Describe the settings of this process, the driver."""
    from django.conf import settings

    # No path is added to those of the settings: all machines of a cluster must see the folder under this path.
    storages = {"images": settings.STORAGES["images"]}
    return Surroundings(str(Path(settings.MEDIA_ROOT).absolute()), storages, int(settings.UMASK, 8), threads)


def prepare(given: Surroundings) -> None:
    """Configure Django for a process that uses the image store. Every query of the database raises an error."""
    from django.conf import settings

    if given.threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(given.threads))
    if given.gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = given.gpu
    os.umask(given.umask)
    settings.configure(
        MEDIA_ROOT=given.media_root,
        STORAGES=given.storages,
        UMASK=f"{given.umask:o}",
        INSTALLED_APPS=APPS,
        AUTH_USER_MODEL="annotate.User",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        DATABASES={},
        USE_TZ=True,
        LOGGING_CONFIG=None,
    )
    import django

    django.setup()


def prepare_process(given: Surroundings) -> None:
    """Prepare a process of this machine, which ends when the driver ends, even if that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which ends its workers
    threading.Thread(target=_end_with_driver, daemon=True, name="end with driver").start()
    prepare(given)


def _end_with_driver() -> None:
    driver = multiprocessing.parent_process()
    if driver is not None:
        wait([driver.sentinel])
        os._exit(1)


_opened: Opened | None = None


def open_task(pickled: bytes) -> Started:
    """Open a task, in place of the one before. It comes pickled, since its class may need the settings."""
    global _opened
    _opened = None  # free the memory of the model before
    try:
        task: Task = pickle.loads(pickled)  # noqa: S301 - from the driver
        _opened = task.open()
    except Exception as error:  # noqa: BLE001 - raised again
        raise portable(error) from None
    return Started(_opened.info, f"process {os.getpid()} on {socket.gethostname()}")


def compute(rows: Batch) -> Any:
    """Compute the results of a batch by the opened task."""
    if _opened is None:
        raise EngineError("The worker has no task. Run the same command again.")
    try:
        return _opened.compute(rows)
    except Exception as error:  # noqa: BLE001 - raised again
        raise portable(error) from None


def portable(error: Exception) -> Exception:
    """Return the error, or its text if it cannot be sent to the driver."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    except Exception:  # noqa: BLE001 - whatever its class raises
        return EngineError(f"{type(error).__name__}: {error}")
    return error
