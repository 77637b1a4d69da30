"""Latency of judging while 200 connections send half a request: `python -m tests.bench.slow_clients`.

20 annotators judge over the API, each with an answer a second. Then 200 connections are opened, without signing in: a
quarter sends half of the headers and stops, a quarter sends half of the body and stops, a quarter sends the headers and
a quarter the body at one byte a second. A connection that the server closes is opened again. The same loads run on the
threads of gunicorn, which served version 0.2, and on the present server.
"""

import argparse
import http.client
import json
import selectors
import socket
import threading
import time
import uuid
from contextlib import suppress

from tests.bench.machine import describe, percentiles
from tests.support.load import NEXT, Client
from tests.support.servers import Deployment

ANNOTATORS = 20
BODY = json.dumps({"username": "nobody", "password": "x" * 400}).encode()
HEAD = (
    f"POST /api/v1/token HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    f"Content-Length: {len(BODY)}\r\n\r\n"
).encode()


class SlowClients(threading.Thread):
    """Keeps a number of connections open, each with an unfinished request."""

    KINDS = (  # what is sent at once, and what follows at one byte a second
        (HEAD[: len(HEAD) // 2], b""),
        (HEAD + BODY[: len(BODY) // 2], b""),
        (b"", HEAD),
        (HEAD, BODY[:-1]),
    )

    def __init__(self, port: int, connections: int) -> None:
        super().__init__(daemon=True)
        self.port, self.connections = port, connections
        self.stopped = threading.Event()
        self.selector = selectors.DefaultSelector()
        self.opened = self.closed_by_server = self.refused = 0

    def open(self, kind: int) -> None:
        at_once, later = self.KINDS[kind % len(self.KINDS)]
        connection = socket.socket()
        try:
            connection.settimeout(5)
            connection.connect(("127.0.0.1", self.port))
            connection.sendall(at_once)
        except OSError:
            self.refused += 1
            connection.close()
            return
        self.opened += 1
        self.selector.register(connection, selectors.EVENT_READ, (kind, iter(later)))

    def run(self) -> None:
        for kind in range(self.connections):
            self.open(kind)
        next_byte = time.monotonic()
        while not self.stopped.is_set():
            for key, _ in self.selector.select(timeout=0.2):
                data = b""
                with suppress(OSError):
                    data = key.fileobj.recv(4096)
                if not data:
                    self.closed_by_server += 1
                    self.reopen(key)
            if time.monotonic() >= next_byte:
                next_byte += 1
                for key in list(self.selector.get_map().values()):
                    self.send_one_byte(key)
        for key in list(self.selector.get_map().values()):
            key.fileobj.close()

    def send_one_byte(self, key: selectors.SelectorKey) -> None:
        byte = next(key.data[1], None)
        if byte is not None:
            try:
                key.fileobj.send(bytes([byte]))
            except OSError:
                self.closed_by_server += 1
                self.reopen(key)

    def reopen(self, key: selectors.SelectorKey) -> None:
        self.selector.unregister(key.fileobj)
        key.fileobj.close()
        self.open(key.data[0])

    def stop(self) -> None:
        self.stopped.set()
        self.join()


class TimedClient(Client):
    """An annotator who judges for some seconds. Counts every request, also those that are not answered in time."""

    PATIENCE = 10

    def __init__(self, port: int, token: str, *, seconds: float, pause: float, seed: int) -> None:
        super().__init__(port, token, depth=4, pause=pause, seed=seed)
        self.seconds = seconds
        self.times: list[float] = []
        self.unanswered = 0

    def request(self, path: str, body: dict) -> tuple[int, dict] | None:
        started = time.perf_counter()
        try:
            if self.connection.sock is None:
                self.connection.timeout = self.PATIENCE
            self.connection.request("POST", path, json.dumps(body), self.headers)
            response = self.connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            self.times.append(time.perf_counter() - started)
            self.unanswered += 1
            return None
        self.times.append(time.perf_counter() - started)
        return response.status, json.loads(content) if content else {}

    def run(self) -> None:
        time.sleep(self.random.uniform(0, self.pause))
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            answer = self.request(NEXT, {"depth": self.depth})
            if answer is None or answer[0] != 200:
                continue
            self.key, self.choice = str(uuid.uuid4()), self.random.choice(["left", "right"])
            time.sleep(self.pause * self.random.uniform(0.5, 1.5))
            self.request("/api/v1/judgements", self.answer_to(answer[1]))


def judge(site: Deployment, tokens: list[str], seconds: float) -> dict:
    clients = [TimedClient(site.port, token, seconds=seconds, pause=1, seed=n) for n, token in enumerate(tokens)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    times = [t for client in clients for t in client.times]
    return {"requests": len(times), "unanswered": sum(client.unanswered for client in clients)} | percentiles(times)


def measure(database: str, server: str, *, connections: int, seconds: float) -> dict:
    with Deployment(database) as site:
        seeded = site.ask("tests.bench.seed", "--faces", "1000", "--annotators", str(2 * ANNOTATORS), "--overlap", "2")
        start(site, server)
        tokens = seeded["tokens"]
        judge(site, tokens[:ANNOTATORS], 2)  # the first requests load modules
        result = {"alone": judge(site, tokens[:ANNOTATORS], seconds)}
        slow = SlowClients(site.port, connections)
        slow.start()
        time.sleep(3)
        result["with slow connections"] = judge(site, tokens[ANNOTATORS:], seconds)
        slow.stop()
        return result | {
            "opened": slow.opened, "closed by the server": slow.closed_by_server, "refused": slow.refused,
        }  # fmt: skip


def start(site: Deployment, server: str) -> None:
    if server == "waitress":
        site.start_web()
    else:
        address = ("--bind", f"127.0.0.1:{site.port}", "--workers", str(site.web_workers), "--threads", "4")
        site.start("-m", "gunicorn", "annotate.wsgi", *address, "--no-control-socket")
        site.wait_until_served()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgres"), nargs="+", default=["sqlite", "postgres"])
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    report = {"machine": describe("Django", "gunicorn", "waitress", "psycopg")}
    for database in options.database:
        for server in ("gunicorn", "waitress"):
            report[f"{database}, {server}"] = measure(
                database, server, connections=options.connections, seconds=options.seconds
            )
    print(json.dumps(report, indent=2))
