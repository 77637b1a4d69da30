"""Answers over the API and refits by the real worker, on each database and broker."""

import time

import pytest

from tests.support.load import Client, run_clients
from tests.support.servers import POSTGRES_HINT, REDIS_HINT, Deployment, Redis, find_program, has_postgres

SITES = [
    pytest.param("sqlite", False, id="sqlite"),
    pytest.param(
        "postgres",
        False,
        marks=[pytest.mark.postgres, pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)],
        id="postgres",
    ),
    pytest.param(
        "sqlite",
        True,
        marks=pytest.mark.skipif(find_program("redis-server") is None, reason=REDIS_HINT),
        id="sqlite-redis",
    ),
]


def wait_for_newest_labels(site: Deployment, seconds: float = 90) -> dict:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        state = site.ask("tests.support.predictor_state")
        if state["ready"] and not state["waiting"]:
            return state
        time.sleep(0.5)
    raise AssertionError(f"the predictor did not catch up: {state}\n{(site.folder / 'log').read_text()[-2000:]}")


@pytest.mark.parametrize(("database", "use_redis"), SITES)
def test_worker_labels_all_pairs_before_and_after_a_kill(database, use_redis):
    redis = Redis() if use_redis else None
    try:
        with Deployment(database) as site:
            if redis:
                site.environment["BROKER_URL"] = redis.url
            seeded = site.ask("tests.bench.seed", "--faces", "40", "--annotators", "2", "--contested-only", "--scores")
            site.start_web()
            worker = site.start_worker()
            run_clients([Client(site.port, token, answers=25, seed=n) for n, token in enumerate(seeded["tokens"])])
            state = wait_for_newest_labels(site)
            assert state["labelled"] == 120 - state["judged"]
            assert state["versions"] < 50, "many answers, few refits"

            site.kill(worker)
            run_clients([Client(site.port, token, answers=5, seed=9) for token in seeded["tokens"]])
            site.start_worker()
            later = wait_for_newest_labels(site)
            assert later["judged"] == state["judged"] + 10
            assert later["labelled"] == 120 - later["judged"]
    finally:
        if redis:
            redis.stop()
