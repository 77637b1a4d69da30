"""Real servers, real clients, a web process killed again and again: acknowledged = stored, doubled = 0."""

import threading

import pytest

from tests.load import Client, run_clients
from tests.servers import POSTGRES_HINT, Deployment, has_postgres

DATABASES = [
    "sqlite",
    pytest.param(
        "postgres", marks=[pytest.mark.postgres, pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)]
    ),
]


@pytest.mark.parametrize("database", DATABASES)
def test_no_judgement_is_lost_or_doubled_while_web_processes_are_killed(database):
    with Deployment(database) as site:
        seeded = site.ask(
            "tests.bench.seed", "--faces", "60", "--annotators", "8", "--overlap", "2", "--contested-only"
        )
        web = site.start_web()
        clients = [Client(site.port, token, seed=n) for n, token in enumerate(seeded["tokens"])]
        stop = threading.Event()

        def kill_again_and_again() -> None:
            while not stop.wait(0.7):
                site.kill_one_web_process(web)

        killer = threading.Thread(target=kill_again_and_again)
        killer.start()
        tallies = run_clients(clients)
        stop.set()
        killer.join()
        stored = site.ask("tests.bench.audit")

    assert all(tally.finished for tally in tallies)
    assert sum(tally.retries for tally in tallies) > 0, "the kills must have been felt"
    acknowledged = [key for tally in tallies for key in tally.acknowledged]
    assert len(acknowledged) == seeded["items"] * 2  # every item has its two answers
    assert sorted(acknowledged) == sorted(stored["keys"])
    assert (stored["doubled"], stored["over_assigned"], stored["slots_wrong"], stored["counters_wrong"]) == (
        0,
        0,
        0,
        0,
    )
