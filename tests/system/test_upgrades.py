"""Databases of released versions, migrated to the present one: answers, votes and pages."""

import json
import os
import subprocess
import sys

import pytest

from tests.support.servers import POSTGRES_HINT, ROOT, Postgres, has_postgres

# In each, eight faces are judged by three people, with an undone answer, a skipped pair, repeats and an adjudication;
# one person judged a pair in two campaigns. There are simulated answers, a study with a guest, and a frozen gold set.
COUNTS = {
    "Campaign": 6, "Item": 79, "Face": 12, "Candidate": 60, "Pair": 72, "Score": 192, "Predictor": 2, "User": 7,
}  # fmt: skip
ANSWERS = {"0.1.0": {"Lease": 92, "Judgement": 86}, "0.2.0": {"Lease": 93, "Judgement": 86}}
# Earlier versions also counted 6 pairs of simulated annotators, and 5 labels of an SVM that had learned from them.
PREFERENCES = {"ground_truth": 36, "human": 25, "simulated": 0, "svm": 0}
VOTES = 34  # of people; version 0.1.0 counted 35: one person's answers in two campaigns as two votes
CLOSED = {"403": ["again", "faces", "simulated", "study"], "409": ["gold"]}  # to a lead who is not a member; frozen
FEWEST_PAGES = {"lead": 35, "ann": 25}


@pytest.mark.parametrize(
    "database",
    [
        "sqlite",
        pytest.param(
            "postgres", marks=[pytest.mark.postgres, pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)]
        ),
    ],
)
def test_databases_of_released_versions_migrate_with_every_answer(database, tmp_path):
    server = Postgres(settings={"fsync": "off"}) if database == "postgres" else None
    environment = {
        **os.environ, "DJANGO_SETTINGS_MODULE": "annotate.settings", "DATA_ROOT": str(tmp_path),
        "LOG_LEVEL": "CRITICAL", "DATABASE_URL": server.url if server else "",
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.upgrade", *ANSWERS]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    finally:
        if server:
            server.remove()
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for version, state in found.items():
        pages = state.pop("pages")
        assert state == {
            "counts": COUNTS | ANSWERS[version],
            "preferences": PREFERENCES,
            "votes": VOTES,
            "append_only": [True, True],
            "gold_unchanged": True,
            "foreign_keys": True,
            "token": 200,
        }
        for name, statuses in pages.items():
            assert len(statuses.pop("200")) >= FEWEST_PAGES[name]
            assert set(statuses) <= set(CLOSED), statuses
            for status, paths in statuses.items():
                assert set(paths) <= {f"/campaigns/{slug}/judge" for slug in CLOSED[status]}
