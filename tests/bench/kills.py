"""Kill each process of the site in turn while annotators judge: `python -m tests.bench.kills [--database postgres]`.

The processes are the supervisor, the web processes, the worker, and the worker's own processes. Each is killed with
SIGKILL; the next kill follows when all run again. A killed supervisor is started again, as systemd does. At the end
each process of the worker is stopped with SIGSTOP, as if it hung. Meanwhile 20 annotators judge, and the worker refits.

Reported are lost and doubled answers, processes left without a supervisor, the seconds until the site answers again and
until a refit uses answers that were given after a process hung, and whether the newest answers are used by a refit at
the end. The exit code is 1 if a guarantee was violated.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from tests.bench.machine import describe
from tests.support.load import Client
from tests.support.servers import Deployment, children_of, family_of

ANNOTATORS = 20
ROLES = (
    *("supervisor", "web process", "web process", "jobs", "worker"),
    *("task process", "task process", "monitor of results", "reader of the queue"),
)
# The supervisor in between, since the delay before a restart of the worker grows while it ends early.
ORDER = (4, 5, 0, 1, 2, 6, 3, 7, 8)
ORPHANED_AFTER = 5  # seconds for which a process may outlive its supervisor
PATIENCE = 240


class EndlessClient(Client):
    """An annotator who judges until an event is set."""

    def __init__(self, *args, until: threading.Event, **options) -> None:
        super().__init__(*args, **options)
        self.until = until

    def judge(self, item: dict) -> None:
        super().judge(item)
        if self.until.is_set():
            self.answers = len(self.tally.acknowledged)


def wait_for(condition, seconds: float = PATIENCE) -> float | None:
    """Return the seconds until the condition holds; None if it does not within the time."""
    started = time.monotonic()
    while time.monotonic() - started < seconds:
        if condition():
            return time.monotonic() - started
        time.sleep(0.02)
    return None


def answers(site: Deployment) -> bool:
    try:
        urllib.request.urlopen(f"{site.address}/health", timeout=2).close()
    except OSError:
        return False
    return True


def roles_of(supervisor: subprocess.Popen) -> list[int]:
    """Return the ids of the processes, in the order of `ROLES`; fewer if one is missing."""
    own = sorted(children_of(supervisor.pid))
    modules = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in own}
    webs, jobs, workers = (
        [pid for pid in own if module in modules[pid]] for module in (b"web_process", b"job_process", b"worker_process")
    )
    return [supervisor.pid, *webs, *jobs, *workers, *(child for pid in workers for child in sorted(children_of(pid)))]


def is_complete(supervisor: subprocess.Popen, without: int = 0) -> bool:
    """Return whether all processes run. without: one that must not be among them, since it may not be reaped yet."""
    try:
        family = roles_of(supervisor)
    except OSError:
        return False  # a process has just ended
    return len(family) == len(ROLES) and without not in family


class Killer:
    def __init__(self, site: Deployment) -> None:
        self.site = site
        self.supervisor = site.start_site()
        self.orphans = 0
        self.answered: dict[str, list[float]] = defaultdict(list)
        self.complete: dict[str, list[float]] = defaultdict(list)
        self.unfrozen: dict[str, list[float]] = defaultdict(list)

    def kill(self, number: int) -> None:
        """Kill one process, and wait until the site and all its processes run again."""
        victim, role = self.send(number, signal.SIGKILL)
        started = time.monotonic()
        if role == "supervisor":
            self.supervisor.wait()
            if wait_for(lambda: not self.site.served_by(), ORPHANED_AFTER) is None:
                self.orphans += len(self.site.served_by())
            self.supervisor = self.site.start_site()
        elif wait_for(lambda: answers(self.site)) is None:
            raise self.failure(f"the site did not answer after a kill of the {role}")
        self.answered[role].append(time.monotonic() - started)
        if wait_for(lambda: is_complete(self.supervisor, victim)) is None:
            raise self.failure(f"the {role} was not restarted")
        self.complete[role].append(time.monotonic() - started)
        self.orphans += len(set(self.site.served_by()) - set(family_of(self.supervisor.pid)))

    def freeze(self, number: int) -> None:
        """Stop one process of the worker, and wait until a refit uses answers that were given afterwards."""
        victim, role = self.send(number, signal.SIGSTOP)
        newest = self.site.ask("tests.support.predictor_state")["newest"]
        seconds = wait_for(lambda: self.site.ask("tests.support.predictor_state")["used"] > newest)
        if seconds is None:
            raise self.failure(f"refits ended with the hanging {role}")
        self.unfrozen[role].append(seconds)
        with suppress(ProcessLookupError):  # if its task was not needed
            os.kill(victim, signal.SIGKILL)

    def send(self, number: int, signal_number: signal.Signals) -> tuple[int, str]:
        if wait_for(lambda: is_complete(self.supervisor)) is None:
            raise self.failure("a process is missing")
        victim = roles_of(self.supervisor)[number]
        os.kill(victim, signal_number)
        return victim, ROLES[number]

    def failure(self, message: str) -> RuntimeError:
        return RuntimeError(f"{message}\n{(self.site.folder / 'log').read_text()[-3000:]}")


def judge_under_kills(database: str, *, kills: int, freezes: int, annotators: int, pause: float = 1) -> dict:
    with Deployment(database) as site:
        seeded = site.ask(
            "tests.bench.seed", "--faces", str(60 + 20 * kills + 300 * freezes), "--annotators", str(annotators),
            "--overlap", "2", "--contested-only", "--scores", "--repeat-share", "0.05",
            "--labels", "60" if freezes else "0",
        )  # fmt: skip
        if freezes:
            site.ask("tests.bench.fit_once")  # searches the grid, so that each refit is short
        killer, enough = Killer(site), threading.Event()
        clients = [
            EndlessClient(site.port, token, pause=pause, seed=number, until=enough)
            for number, token in enumerate(seeded["tokens"])
        ]
        started = time.monotonic()
        for client in clients:
            client.start()
        for number in range(kills):
            killer.kill(ORDER[number % len(ORDER)])
        for number in range(freezes):
            killer.freeze(ROLES.index("worker") + number)
        seconds = time.monotonic() - started
        enough.set()
        for client in clients:
            client.join()
        fresh = wait_for(lambda: not site.ask("tests.support.predictor_state")["waiting"])
        stored = site.ask("tests.bench.audit")
    acknowledged = [key for client in clients for key in client.tally.acknowledged]
    return {
        "database": database,
        "kills": kills,
        "seconds": round(seconds, 1),
        "acknowledged": len(acknowledged),
        "sent again": sum(client.tally.retries + client.tally.server_errors for client in clients),
        "seconds until the site answers": _worst(killer.answered),
        "seconds until all processes run": _worst(killer.complete),
        "seconds until refits go on beside a hanging process": _worst(killer.unfrozen),
        "promises": {
            "lost": len(set(acknowledged) - set(stored["keys"])),
            "acknowledged twice": len(acknowledged) - len(set(acknowledged)),
            "orphans": killer.orphans,
            "newest answers not used by a refit": int(fresh is None),
            "answered without a message": sum(len(client.tally.unworded) for client in clients),
            **{name: stored[name] for name in ("doubled", "over_assigned", "slots_wrong", "counters_wrong")},
        },
    }


def _worst(seconds: dict[str, list[float]]) -> dict[str, float]:
    return {role: round(max(values), 2) for role, values in seconds.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--freezes", type=int, default=5)
    options = parser.parse_args()
    report = judge_under_kills(options.database, kills=options.kills, freezes=options.freezes, annotators=ANNOTATORS)
    print(json.dumps({"machine": describe("Django", "waitress", "django-q2")} | report, indent=2))
    sys.exit(any(report["promises"].values()))
