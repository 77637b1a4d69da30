"""Clients that judge over the API. They repeat a request with its key until it is answered."""

import http.client
import json
import random
import threading
import time
import uuid
from dataclasses import dataclass, field

NEXT = "/api/v1/campaigns/bench/next"
PATIENCE = 120  # seconds


@dataclass
class Tally:
    """What a client received. Times are in seconds, of requests that were answered at the first attempt."""

    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    next_seconds: list[float] = field(default_factory=list)
    submit_seconds: list[float] = field(default_factory=list)
    retries: int = 0
    server_errors: int = 0
    unworded: list[str] = field(default_factory=list)  # failures without a proper message
    finished: bool = False


class Client(threading.Thread):
    """Judges `answers` items, or all, over one connection. Every tenth answer is sent twice."""

    def __init__(
        self, port: int, token: str, *, answers: int | None = None, depth: int = 1, pause: float = 0, seed: int = 0
    ) -> None:
        super().__init__(daemon=True)
        self.port, self.answers, self.depth, self.pause = port, answers, depth, pause
        self.headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
        self.random = random.Random(seed)
        self.tally = Tally()
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, path: str, body: dict | bytes, times: list[float] | None = None) -> tuple[int, dict]:
        """Repeat the request until the response is not a server error."""
        data = body if isinstance(body, bytes) else json.dumps(body)
        patience = time.monotonic() + PATIENCE
        attempt = 0
        while time.monotonic() < patience:
            attempt += 1
            started = time.perf_counter()
            try:
                self.connection.request("POST", path, data, self.headers)
                response = self.connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException):
                self.reconnect()
                self.tally.retries += 1
                time.sleep(0.05)
                continue
            if response.status >= 500:
                self.tally.server_errors += 1
                self.note_failure(response.status, content)
                time.sleep(0.05)
                continue
            if times is not None and attempt == 1:
                times.append(time.perf_counter() - started)
            return response.status, json.loads(content) if content else {}
        raise RuntimeError(f"{path} was not answered in {PATIENCE} s")

    def reconnect(self) -> None:
        self.connection.close()

    def note_failure(self, status: int, content: bytes) -> None:
        """Note a failure that is not the documented one of an unavailable database."""
        try:
            worded = status == 503 and json.loads(content)["code"] == "unavailable"
        except (ValueError, KeyError):
            worded = False
        if not worded:
            self.tally.unworded.append(f"{status} {content[:200]!r}")

    def run(self) -> None:
        while self.answers is None or len(self.tally.acknowledged) < self.answers:
            status, item = self.post(NEXT, {"depth": self.depth}, self.tally.next_seconds)
            if status == 204:
                break
            if status == 409:
                continue  # another request did the same at the same moment
            assert status == 200, (status, item)
            self.key, self.choice = str(uuid.uuid4()), self.random.choice(["left", "right", "cant_tell"])
            time.sleep(self.pause * self.random.uniform(0.5, 1.5))
            self.judge(item)
        self.tally.finished = True

    def answer_to(self, item: dict) -> dict:
        return {
            "item": item["item"],
            "lease": item["lease"],
            "key": self.key,
            "choice": self.choice,
            "criterion": None if self.choice == "cant_tell" else "realism",
            "seconds": 1.5,
        }

    def judge(self, item: dict) -> None:
        answer = self.answer_to(item)
        status, stored = self.post("/api/v1/judgements", answer, self.tally.submit_seconds)
        if status in (200, 201):
            self.tally.acknowledged.append(stored["key"])
            if self.random.random() < 0.1:
                again, repeated = self.post("/api/v1/judgements", answer)
                assert (again, repeated) == (200, stored), (again, repeated)
        else:
            self.tally.refused.append(stored["code"])


def run_clients(clients: list[Client]) -> list[Tally]:
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return [client.tally for client in clients]
