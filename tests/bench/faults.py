"""20 annotators judge during faults: `python -m tests.bench.faults [--database postgres] [--faces 700]`.

System faults: web processes or the server are killed with SIGKILL, the database is restarted or its connections are
closed, a writer is killed during a transaction or holds the lock, the disk fills up, and the clock jumps. Client
faults: an answer is sent on two connections at once, a connection is closed before the response, an answer comes after
its lease expired, a request is malformed. Every item gets all its answers, so at the end all annotators compete for
the last ones.

The exit code is 1 if a guarantee was violated. Filling a disk needs a separate file system, which only root can mount;
without root that fault is left out and reported as such.
"""

import argparse
import http.client
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench.machine import describe
from tests.support.load import NEXT, Client, Tally, run_clients
from tests.support.servers import Deployment

ANNOTATORS = 20
LEASE_SECONDS = 2
DISK = {"sqlite": "64m", "postgres": "400m"}
MALFORMED = (
    b"", b"{", b"null", b"[]", b'{"lease": 1}', b'{"item": "x", "lease": [], "key": null}', b"\xff\xfe",
    b'{"item": 1e999, "choice": "left"}', b"{" * 5000, b'"' + b"a" * 70_000 + b'"',
)  # fmt: skip


class FaultyClient(Client):
    """An annotator who causes a random client fault with every fourth answer."""

    def __init__(self, port: int, token: str, *, seed: int) -> None:
        super().__init__(port, token, seed=seed)
        self.faults: Counter[str] = Counter()

    def judge(self, item: dict) -> None:
        fault = self.random.choice((self.send_twice, self.hang_up, self.answer_late, self.send_malformed))
        if self.random.random() < 0.25:
            fault(item)
        super().judge(item)

    def send_once(self, answer: dict) -> None:
        """Send an answer on a new connection and ignore the outcome."""
        with suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            connection.request("POST", "/api/v1/judgements", json.dumps(answer), self.headers)
            connection.getresponse().read()
            connection.close()

    def send_twice(self, item: dict) -> None:
        self.faults["same key from two connections"] += 1
        twin = threading.Thread(target=self.send_once, args=(self.answer_to(item),))
        twin.start()

    def hang_up(self, item: dict) -> None:
        self.faults["connection cut before the answer"] += 1
        body = json.dumps(self.answer_to(item)).encode()
        head = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        request = f"POST /api/v1/judgements HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}Content-Length: {len(body)}\r\n\r\n"
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            connection.sendall(request.encode() + body[: self.random.choice((len(body), len(body) // 2))])

    def answer_late(self, item: dict) -> None:
        self.faults["answer after the lease expired"] += 1
        time.sleep(LEASE_SECONDS * self.random.uniform(0.9, 1.5))

    def send_malformed(self, item: dict) -> None:
        self.faults["malformed request"] += 1
        path = self.random.choice(("/api/v1/judgements", NEXT))
        status, answer = self.post(path, self.random.choice(MALFORMED) if path.endswith("judgements") else b"[]")
        if not 400 <= status < 500 or not {"code", "detail"} <= set(answer):
            self.tally.unworded.append(f"{status} {answer}")


class FaultInjector(threading.Thread):
    """Causes system faults one after another, in random order."""

    def __init__(self, site: Deployment, place: Path, *, seed: int, pause: float) -> None:
        super().__init__(daemon=True)
        self.site, self.place, self.pause = site, place, pause
        self.random = random.Random(seed)
        self.stopped = threading.Event()
        self.faults: Counter[str] = Counter()
        self.clock = place / "clock"
        self.web = self.start_site()

    def start_site(self) -> subprocess.Popen:
        return self.site.start_web()

    def kinds(self) -> dict[str, Callable[[], None]]:
        kinds: dict[str, Callable[[], None]] = {
            "web process killed": self.kill_web_process,
            "web server killed": self.kill_web_server,
            "clock stepped": self.step_clock,
        }
        if self.site.postgres:
            kinds |= {"database restarted": self.restart_postgres, "database connections cut": self.cut_connections}
        else:
            kinds |= {"database locked": self.hold_lock, "writer killed": self.kill_writer}
        if os.path.ismount(self.place):
            kinds["disk full"] = self.fill_disk
        return kinds

    def run(self) -> None:
        kinds = self.kinds()
        while True:
            for name in self.random.sample(sorted(kinds), len(kinds)):
                if self.stopped.wait(self.random.uniform(0.5, 1.5) * self.pause):
                    return
                kinds[name]()
                self.faults[name] += 1

    def kill_web_process(self) -> None:
        self.site.kill_one_web_process(self.web)

    def kill_web_server(self) -> None:
        self.site.kill(self.web)
        self.web = self.site.start_web()

    def restart_postgres(self) -> None:
        assert self.site.postgres
        if self.random.random() < 0.5:
            self.site.postgres.crash()
        else:
            self.site.postgres.stop()
        time.sleep(self.random.uniform(0, 1))
        self.site.postgres.start()

    def cut_connections(self) -> None:
        import psycopg

        assert self.site.postgres
        with suppress(psycopg.OperationalError), psycopg.connect(self.site.postgres.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                "AND backend_type = 'client backend'"
            )

    def hold_lock(self) -> None:
        connection = sqlite3.connect(self.site.folder / "db.sqlite3", timeout=30, isolation_level=None)
        with suppress(sqlite3.OperationalError):
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(self.random.uniform(0.2, 1.5))
            connection.execute("ROLLBACK")
        connection.close()

    def kill_writer(self) -> None:
        """Kill a process during a transaction that changes every item."""
        code = (
            "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None);"
            "c.execute('PRAGMA cache_size=1'); c.execute('BEGIN IMMEDIATE');"
            "c.execute('UPDATE annotate_item SET open_slots = open_slots + 7'); os.kill(os.getpid(), 9)"
        )
        subprocess.run([sys.executable, "-c", code, self.site.folder / "db.sqlite3"], stderr=subprocess.DEVNULL)

    def fill_disk(self) -> None:
        filler = self.place / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        with suppress(OSError), filler.open("ab", buffering=0) as file:
            while True:
                file.write(bytes(512))
        time.sleep(self.random.uniform(0.3, 1))
        filler.unlink()
        if self.site.postgres and self.site.postgres.process.poll() is not None:
            self.site.postgres.start()  # it exits if its log cannot grow

    def step_clock(self) -> None:
        self.set_clock(self.random.choice((-3600, -5, 0, 5, 3600)))

    def set_clock(self, seconds: int) -> None:
        """Set the offset of the web processes' clock, see `stepped_clock`."""
        new = self.clock.with_suffix(".new")
        with suppress(OSError):  # the disk may be full
            new.write_text(f"{seconds:+d}\n")
            new.replace(self.clock)

    def stop(self) -> None:
        self.stopped.set()
        self.join()
        self.set_clock(0)


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """Mount a small file system that can be filled, if permitted. Otherwise use a folder."""
    place = Path(tempfile.mkdtemp(prefix="diffusionreward-disk-"))
    place.chmod(0o755)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, stderr=subprocess.DEVNULL).returncode == 0
    try:
        yield place
    finally:
        if mounted:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
        shutil.rmtree(place, ignore_errors=True)


def judge_under_faults(database: str, *, faces: int, pause: float = 1.5, seed: int = 0) -> dict:
    """Judge all contested pairs of `faces` faces twice. Count acknowledged, stored, duplicate and lost answers."""
    with small_disk(DISK[database]) as place, Deployment(database, place=place) as site:
        seeded = site.ask(
            "tests.bench.seed", "--faces", str(faces), "--annotators", str(ANNOTATORS), "--overlap", "2",
            "--contested-only", "--lease-seconds", str(LEASE_SECONDS), "--repeat-share", "0.05",
        )  # fmt: skip
        site.web_environment = stepped_clock(place)
        injector = FaultInjector(site, place, seed=seed, pause=pause)
        left_out = [] if os.path.ismount(place) else ["disk full"]
        clients = [FaultyClient(site.port, token, seed=seed + n) for n, token in enumerate(seeded["tokens"])]
        started = time.monotonic()
        injector.start()
        tallies = run_clients(clients)
        seconds = time.monotonic() - started
        injector.stop()
        stored = site.ask("tests.bench.audit")
    faults = sum((client.faults for client in clients), injector.faults)
    return {
        "database": database,
        "left out on this machine": left_out,
        **summary(tallies, faults, stored, wanted=seeded["items"] * 2, seconds=seconds),
    }


def stepped_clock(place: Path) -> dict[str, str]:
    """Return the environment of web processes whose clock follows the file `place/clock`."""
    (place / "clock").write_text("+0\n")
    return {"PYTHONPATH": str(Path(__file__).with_name("stepped_clock")), "CLOCK_FILE": str(place / "clock")}


def summary(tallies: list[Tally], faults: Counter[str], stored: dict, *, wanted: int, seconds: float) -> dict:
    """Compare what clients were told with what is stored. stored: of `tests.bench.audit`."""
    acknowledged = [key for tally in tallies for key in tally.acknowledged]
    return {
        "annotators": len(tallies),
        "finished": sum(tally.finished for tally in tallies),
        "seconds": round(seconds, 1),
        "faults": sum(faults.values()),
        "of which": dict(sorted(faults.items())),
        "no answer or 503, sent again": sum(tally.retries + tally.server_errors for tally in tallies),
        "refused with a message": dict(Counter(code for tally in tallies for code in tally.refused)),
        "wanted": wanted,
        "mirrored repeats": stored["repeats"],
        "annotators in the last 20 answers": stored["annotators_at_the_end"],
        "acknowledged": len(acknowledged),
        "stored": len(stored["keys"]),
        "promises": {
            "lost": len(set(acknowledged) - set(stored["keys"])),
            "stored but never acknowledged": len(set(stored["keys"]) - set(acknowledged)),
            "acknowledged twice": len(acknowledged) - len(set(acknowledged)),
            "answered without a message": sum(len(tally.unworded) for tally in tallies),
            "unanswered items": wanted + stored["repeats"] - len(stored["keys"]),
            **{name: stored[name] for name in ("doubled", "over_assigned", "slots_wrong", "counters_wrong")},
        },
        "first without a message": next((words for tally in tallies for words in tally.unworded), None),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--faces", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    report = judge_under_faults(options.database, faces=options.faces, seed=options.seed)
    print(json.dumps({"machine": describe("Django", "waitress", "psycopg")} | report, indent=2))
    sys.exit(any(report["promises"].values()) or report["finished"] < ANNOTATORS)
