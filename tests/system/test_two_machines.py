"""Two machines of one site, on one database and one bucket: one of them is lost while people judge."""

import threading

import pytest

from tests.bench.faults import summary
from tests.bench.two_machines import SIZE, RoamingClient, two_machines
from tests.support.load import run_clients
from tests.support.servers import POSTGRES_HINT, REDIS_HINT, find_program, has_postgres


@pytest.mark.postgres
@pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)
@pytest.mark.skipif(not find_program("redis-server"), reason=REDIS_HINT)
def test_answers_survive_the_loss_of_one_of_two_machines():
    with two_machines(None, web_workers=1) as site:
        seeded = site.machines[0].ask(
            "tests.bench.seed", "--faces", "12", "--annotators", "4", "--overlap", "2", "--contested-only",
            "--pictures", "--size", str(SIZE),
        )  # fmt: skip
        site.start({}, with_workers=False)
        ports = [machine.port for machine in site.machines]
        clients = [RoamingClient(ports, token, seed=number) for number, token in enumerate(seeded["tokens"])]
        lost = threading.Timer(0.5, lambda: site.machines[0].kill(site.supervisors[0]))
        lost.start()
        tallies = run_clients(clients)
        lost.join()
        stored = site.machines[1].ask("tests.bench.audit")
    faults = sum((client.faults for client in clients[1:]), clients[0].faults)
    report = summary(tallies, faults, stored, wanted=seeded["items"] * 2, seconds=0)
    assert set(report["promises"].values()) == {0}, report
    assert report["finished"] == len(clients)
    assert sum(client.images for client in clients) > 0
    assert any(tally.retries for tally in tallies), "no client was on the machine that was lost"
