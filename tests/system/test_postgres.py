"""The promises about labels hold on PostgreSQL as on SQLite: the same tests, on a server of their own."""

import os
import subprocess
import sys

import pytest

from tests.support.servers import POSTGRES_HINT, ROOT, Postgres, has_postgres

# A statement that takes longer hangs; without autovacuum, when which plan is taken depends on no chance.
SETTINGS = {"autovacuum": "off", "statement_timeout": "120s"}
SAME_TESTS = (
    "api", "campaigns", "joining", "judging", "pages", "predictors", "queueing", "roles", "sign_in", "study",
    "agreement", "autolabels", "gold", "leaderboard", "exports", "imports",
)  # fmt: skip
# It kills a fork of itself, which would share the connection to the server.
KILLED = "tests/annotate/test_exports.py::test_killed_on_the_way_it_leaves_no_half_file_and_starts_afresh"


@pytest.mark.postgres
@pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)
def test_the_same_on_postgresql():
    server = Postgres(settings=SETTINGS)
    try:
        result = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-q", "-p", "tests.support.vacuum", "--deselect", KILLED),
                *(f"tests/annotate/test_{name}.py" for name in SAME_TESTS),
            ],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": server.url},
            capture_output=True,
            text=True,
        )
    finally:
        server.remove()
    assert result.returncode == 0, result.stdout[-5000:]
    assert " passed" in result.stdout
