"""Real servers, real clients, everything failing around them (see tests.bench.faults): acknowledged = stored."""

import os

import pytest

from tests.bench.faults import judge_under_faults
from tests.support.servers import POSTGRES_HINT, has_postgres

DATABASES = [
    "sqlite",
    pytest.param(
        "postgres", marks=[pytest.mark.postgres, pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)]
    ),
]
OF_ANNOTATORS, OF_THE_MACHINE = 4, 6  # kinds of faults


@pytest.mark.parametrize("database", DATABASES)
def test_no_judgement_is_lost_or_doubled_whatever_fails(database):
    seen = judge_under_faults(database, faces=100, pause=0.5)
    assert set(seen["promises"].values()) == {0}, seen
    assert seen["finished"] == seen["annotators"]
    assert seen["acknowledged"] == seen["stored"] == seen["wanted"] + seen["mirrored repeats"]
    assert seen["no answer or 503, sent again"] > 0, "the faults must have been felt"
    if os.environ.get("DIFFUSIONREWARD_NOTHING_SKIPPED"):
        assert seen["left out on this machine"] == []
    assert len(seen["of which"]) == OF_ANNOTATORS + OF_THE_MACHINE - len(seen["left out on this machine"]), seen
