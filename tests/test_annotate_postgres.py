"""The promises about labels hold on PostgreSQL as on SQLite: the same tests, on a server of their own."""

import os
import subprocess
import sys

import pytest

from tests.servers import POSTGRES_HINT, ROOT, Postgres, has_postgres

SAME_TESTS = (
    *("agreement", "api", "autolabels", "campaigns", "exports", "gold", "imports", "joining", "judging", "leaderboard"),
    *("pages", "predictors", "queueing", "roles", "sign_in", "study"),
)


@pytest.mark.postgres
@pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)
def test_the_same_on_postgresql():
    server = Postgres()
    try:
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *(f"tests/test_annotate_{name}.py" for name in SAME_TESTS)],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": server.url},
            capture_output=True,
            text=True,
        )
    finally:
        server.remove()
    assert result.returncode == 0, result.stdout[-5000:]
    assert " passed" in result.stdout
