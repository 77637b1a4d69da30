"""Real servers and clients under faults (see tests.bench.faults): every acknowledged answer is stored once."""

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
BY_ANNOTATORS, BY_THE_MACHINE = 4, 6  # kinds of faults


@pytest.mark.parametrize("database", DATABASES)
def test_judgements_under_faults_are_stored_exactly_once(database):
    report = judge_under_faults(database, faces=60, pause=0.5)
    assert set(report["promises"].values()) == {0}, report
    assert report["finished"] == report["annotators"]
    assert report["acknowledged"] == report["stored"] == report["wanted"] + report["mirrored repeats"]
    assert report["no answer or 503, sent again"] > 0, "the faults had no effect"
    if os.environ.get("DIFFUSIONREWARD_NOTHING_SKIPPED"):
        assert report["left out on this machine"] == []
    assert len(report["of which"]) == BY_ANNOTATORS + BY_THE_MACHINE - len(report["left out on this machine"]), report
