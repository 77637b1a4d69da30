"""A socket between the supervisor and each of its processes, by which each notices the end of the other.

When the supervisor ends, even by SIGKILL, the kernel closes its end. The process then kills its own process group, so
that no process is left without a supervisor. In the other direction, a process reports that it is working.
"""

import logging
import os
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)
BEAT = b"."


class Lifeline:
    """The end of a process."""

    def __init__(self, descriptor: int) -> None:
        lead_own_group()
        self.socket = socket.socket(fileno=descriptor)
        threading.Thread(target=self._wait_for_end, daemon=True, name="lifeline").start()

    def _wait_for_end(self) -> None:
        with suppress(OSError):
            while self.socket.recv(1):
                pass
        kill_own_group("The supervisor has ended.")

    def beat(self) -> None:
        """Report that this process is working. Never blocks."""
        with suppress(OSError):
            self.socket.send(BEAT, socket.MSG_DONTWAIT)


def describe_end(code: int) -> str:
    """Say how a process ended, by its exit code as `subprocess` and `multiprocessing` report it."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def lead_own_group() -> None:
    """Make this process the leader of its own group, if it is not."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)


def kill_own_group(reason: str) -> None:
    """Kill this process and all processes that it started."""
    logger.critical("%s Process %d and its children end.", reason, os.getpid())
    os.killpg(os.getpgrp(), signal.SIGKILL)


def environment() -> dict[str, str]:
    """Return the environment of our processes, which find our packages wherever they are started."""
    packages = str(Path(__file__).resolve().parents[2])
    paths = [packages, *filter(None, [os.getenv("PYTHONPATH")])]
    # Waiting OpenMP threads must sleep: while they spin, two busy processes slow each other down 30-fold.
    return {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "PYTHONPATH": os.pathsep.join(paths)}
