"""Clients that judge over the API like impatient people: they repeat a request with its key until it is answered."""

import http.client
import json
import random
import threading
import time
import uuid
from dataclasses import dataclass, field


@dataclass
class Tally:
    """What a client saw. Times in seconds of requests that were answered at the first try."""

    acknowledged: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    next_seconds: list[float] = field(default_factory=list)
    submit_seconds: list[float] = field(default_factory=list)
    retries: int = 0
    server_errors: int = 0
    finished: bool = False


class Client(threading.Thread):
    """Judges `answers` items, or all there are, with one connection; every tenth answer is sent twice."""

    def __init__(self, port: int, token: str, *, campaign: str = "bench", answers: int | None = None, seed: int = 0):
        super().__init__(daemon=True)
        self.port, self.campaign, self.answers = port, campaign, answers
        self.headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
        self.random = random.Random(seed)
        self.tally = Tally()
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, path: str, body: dict, times: list[float] | None = None) -> tuple[int, dict]:
        """Repeat until the server answers with anything but a failure of its own."""
        data = json.dumps(body)
        for attempt in range(200):
            started = time.perf_counter()
            try:
                self.connection.request("POST", path, data, self.headers)
                response = self.connection.getresponse()
                content = response.read()
            except (OSError, http.client.HTTPException):
                self.connection.close()
                self.tally.retries += 1
                time.sleep(0.05)
                continue
            if response.status >= 500:
                self.tally.server_errors += 1
                time.sleep(0.05)
                continue
            if times is not None and attempt == 0:
                times.append(time.perf_counter() - started)
            return response.status, json.loads(content) if content else {}
        raise RuntimeError(f"{path} was not answered in 200 tries")

    def run(self) -> None:
        while self.answers is None or len(self.tally.acknowledged) < self.answers:
            status, item = self.post(f"/api/v1/campaigns/{self.campaign}/next", {}, self.tally.next_seconds)
            if status == 204:
                break
            assert status == 200, (status, item)
            self.judge(item)
        self.tally.finished = True

    def judge(self, item: dict) -> None:
        choice = self.random.choice(["left", "right", "cant_tell"])
        answer = {
            "item": item["item"],
            "lease": item["lease"],
            "key": str(uuid.uuid4()),
            "choice": choice,
            "criterion": None if choice == "cant_tell" else "realism",
            "seconds": 1.5,
        }
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
