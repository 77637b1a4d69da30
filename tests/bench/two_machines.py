"""20 annotators judge on two machines of one site: `python -m tests.bench.two_machines [--faces 300]`.

Each machine has a data folder of its own, web processes and a worker. They share one PostgreSQL server, one Redis
server, one S3 bucket and the secret. Faults, besides those of `tests.bench.faults`: a machine is lost with all its
processes, a worker is killed, Redis is restarted and loses its queue, the bucket does not answer. Clients go on with
the other machine, as behind a proxy.

The exit code is 1 if a guarantee was violated, or if the newest answers are not used by a predictor that both machines
can open.
"""

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.bench.faults import (
    ANNOTATORS,
    DISK,
    LEASE_SECONDS,
    FaultInjector,
    FaultyClient,
    small_disk,
    stepped_clock,
    summary,
)  # fmt: skip
from tests.bench.machine import describe
from tests.support.load import run_clients
from tests.support.s3 import BUCKET, S3Server
from tests.support.servers import Deployment, Redis

SIZE = 64  # of the faces; responses with images have a length that depends on it alone
# A refit that was killed with its worker is repeated by the other one after two minutes, see `predictor.refitting`.
PATIENCE = 420
# Every machine opens the file of the current predictor, wherever it was fitted.
OPEN_PREDICTOR = """
import json, django
django.setup()
from annotate.predictor import status, versions
version = status.current_predictor()
print(json.dumps({"version": version.pk, "labels": versions.load(version).labels, "waiting": status.labels_wait()}))
"""


class Shared:
    """What the machines of a site share: PostgreSQL (by the first machine), Redis, a bucket, the secret."""

    def __init__(self) -> None:
        self.redis, self.s3 = Redis(), S3Server()
        self.environment = {
            **self.s3.environment,
            "BROKER_URL": self.redis.url,
            "MEDIA_STORE": f"s3://{BUCKET}/lab",
            "SECRET_KEY": "of-all-machines" * 5,
            "LOG_LEVEL": "ERROR",
        }

    def stop(self) -> None:
        self.redis.stop()
        self.s3.stop()


class TwoMachines:
    def __init__(self, place: Path | None, *, web_workers: int) -> None:
        self.stack = ExitStack()
        self.shared = Shared()
        self.stack.callback(self.shared.stop)
        first = self.stack.enter_context(Deployment("postgres", place=place, web_workers=web_workers))
        first.environment |= self.shared.environment
        second = self.stack.enter_context(Deployment("postgres", place=place, web_workers=web_workers, beside=first))
        second.environment |= self.shared.environment
        self.machines = [first, second]
        for machine in self.machines:
            machine.environment.pop("MEDIA_ROOT")

    def start(self, environment: dict[str, str], *, with_workers: bool = True) -> None:
        """Start both machines. environment: of all their processes."""
        for machine in self.machines:
            machine.web_environment = environment
        self.supervisors = [machine.start_site() if with_workers else machine.start_web() for machine in self.machines]


@contextmanager
def two_machines(place: Path | None, *, web_workers: int = 2) -> Iterator[TwoMachines]:
    site = TwoMachines(place, web_workers=web_workers)
    try:
        yield site
    finally:
        site.stack.close()


class RoamingClient(FaultyClient):
    """An annotator who goes to the other machine when one does not answer, and looks at some of the images."""

    def __init__(self, ports: list[int], token: str, *, seed: int) -> None:
        self.ports = ports
        super().__init__(ports[seed % len(ports)], token, seed=seed)
        self.images = 0

    def reconnect(self) -> None:
        super().reconnect()
        self.port = self.random.choice(self.ports)
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def judge(self, item: dict) -> None:
        if self.random.random() < 0.2:
            self.see(item["left"])
        super().judge(item)

    def see(self, address: str) -> None:
        """Fetch an image. It comes whole, or not at all with a message."""
        path = address[address.index("/images/") :]
        try:
            self.connection.request("GET", path, headers=self.headers)
            answer = self.connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            self.reconnect()
            return
        if answer.status == 200 and content.startswith(b"\x89PNG") and len(content) % 4096 == 0:
            self.images += 1
        else:
            self.tally.server_errors += 1
            self.note_failure(answer.status, content)


class MachinesInjector(FaultInjector):
    """Causes system faults on both machines and in what they share."""

    def __init__(self, site: TwoMachines, place: Path, *, seed: int, pause: float) -> None:
        self.both = site
        super().__init__(site.machines[0], place, seed=seed, pause=pause)

    def start_site(self) -> subprocess.Popen:
        self.both.start(stepped_clock(self.place))
        return self.both.supervisors[0]

    def kinds(self) -> dict[str, Callable[[], None]]:
        kinds = super().kinds()
        kinds.pop("web server killed")
        return kinds | {
            "machine lost": self.lose_machine,
            "worker killed": self.kill_worker,
            "Redis restarted": self.restart_redis,
            "bucket without an answer": self.stop_bucket,
        }

    def kill_web_process(self) -> None:
        which = self.random.randrange(2)
        self.both.machines[which].kill_one_web_process(self.both.supervisors[which])

    def lose_machine(self) -> None:
        which = self.random.randrange(2)
        self.both.machines[which].kill(self.both.supervisors[which])
        time.sleep(self.random.uniform(0, 1))
        self.both.supervisors[which] = self.both.machines[which].start_site()

    def kill_worker(self) -> None:
        workers = [pid for machine in self.both.machines for pid in machine.served_by() if is_worker(pid)]
        with suppress(ProcessLookupError):
            os.kill(self.random.choice(workers), signal.SIGKILL)

    def restart_redis(self) -> None:
        self.both.shared.redis.restart()

    def stop_bucket(self) -> None:
        process = self.both.shared.s3.process
        assert process
        process.send_signal(signal.SIGSTOP)
        time.sleep(self.random.uniform(0.5, 4))
        process.send_signal(signal.SIGCONT)


def is_worker(pid: int) -> bool:
    with suppress(OSError):
        return b"worker_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def judge_on_two_machines(*, faces: int, annotators: int = ANNOTATORS, pause: float = 2, seed: int = 0) -> dict:
    """Judge all contested pairs of `faces` faces twice, under faults."""
    with small_disk(DISK["postgres"]) as place, two_machines(place) as site:
        seeded = site.machines[0].ask(
            "tests.bench.seed", "--faces", str(faces), "--annotators", str(annotators), "--overlap", "2",
            "--contested-only", "--scores", "--pictures", "--size", str(SIZE),
            "--lease-seconds", str(LEASE_SECONDS), "--repeat-share", "0.05",
        )  # fmt: skip
        injector = MachinesInjector(site, place, seed=seed, pause=pause)
        ports = [machine.port for machine in site.machines]
        clients = [RoamingClient(ports, token, seed=seed + n) for n, token in enumerate(seeded["tokens"])]
        started = time.monotonic()
        injector.start()
        tallies = run_clients(clients)
        seconds = time.monotonic() - started
        injector.stop()
        waited = wait_for_refit(site)
        predictors = [open_predictor(machine) for machine in site.machines] if waited is not None else []
        stored = site.machines[0].ask("tests.bench.audit")
    faults = sum((client.faults for client in clients), injector.faults)
    report = summary(tallies, faults, stored, wanted=seeded["items"] * 2, seconds=seconds)
    report["images seen"] = sum(client.images for client in clients)
    report["seconds until the newest answers are used"] = waited
    report["predictor on each machine"] = predictors
    report["promises"]["machines without the newest predictor"] = 2 - sum(not found["waiting"] for found in predictors)
    return report


def wait_for_refit(site: TwoMachines) -> float | None:
    """Return the seconds until the newest answers are used; None if they are not."""
    started = time.monotonic()
    while time.monotonic() - started < PATIENCE:
        if not site.machines[0].ask("tests.support.predictor_state")["waiting"]:
            return round(time.monotonic() - started, 1)
        time.sleep(1)
    for machine in site.machines:
        print((machine.folder / "log").read_text()[-3000:], file=sys.stderr)
    return None


def open_predictor(machine: Deployment) -> dict:
    printed = machine.python("-c", OPEN_PREDICTOR, stdout=subprocess.PIPE).stdout
    return json.loads(printed.splitlines()[-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    report = judge_on_two_machines(faces=options.faces, seed=options.seed)
    print(json.dumps({"machine": describe("Django", "waitress", "psycopg", "boto3", "redis")} | report, indent=2))
    sys.exit(any(report["promises"].values()) or report["finished"] < ANNOTATORS)
