"""Real servers, real clients, a web process killed again and again: acknowledged = stored, doubled = 0."""

import pytest

from tests.bench.killed_web import judge_under_kills
from tests.servers import POSTGRES_HINT, has_postgres

DATABASES = [
    "sqlite",
    pytest.param(
        "postgres", marks=[pytest.mark.postgres, pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)]
    ),
]


@pytest.mark.parametrize("database", DATABASES)
def test_no_judgement_is_lost_or_doubled_while_web_processes_are_killed(database):
    seen = judge_under_kills(database, faces=50)
    assert seen["finished"] == seen["clients"]
    assert seen["kills"] > 0
    assert seen["requests_cut_off_and_repeated"] > 0, "the kills must have been felt"
    assert seen["acknowledged"] == seen["stored"] == seen["wanted"]  # every item has its two answers
    faults = ("lost", "stored_but_never_acknowledged", "acknowledged_twice", "doubled", "over_assigned")
    assert [seen[name] for name in (*faults, "slots_wrong", "counters_wrong")] == [0] * 7
