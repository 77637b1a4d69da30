"""Run the tests that depend on the database on PostgreSQL as well, on a server of their own."""

import os
import re
import subprocess
import sys

import pytest

from tests.support.servers import POSTGRES_HINT, ROOT, Postgres, has_postgres

# A statement that takes longer hangs. Without autovacuum the choice of a plan does not depend on chance. No test here
# crashes the server, so nothing has to reach the disk.
SETTINGS = {
    "autovacuum": "off", "statement_timeout": "120s",
    "fsync": "off", "full_page_writes": "off", "synchronous_commit": "off",
}  # fmt: skip
MARK = "mark.database"
FEWEST = 70  # about 85 tests are marked; a lower count means that the marker is broken


@pytest.mark.postgres
@pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)
def test_tests_marked_database_pass_on_postgresql():
    files = [path for path in sorted(ROOT.glob("tests/annotate/test_*.py")) if MARK in path.read_text()]
    server = Postgres(settings=SETTINGS)
    try:
        result = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-m", "database", "-p", "tests.support.vacuum", *files],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": server.url},
            capture_output=True,
            text=True,
        )
    finally:
        server.remove()
    assert result.returncode == 0, result.stdout[-5000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed and int(passed[1]) >= FEWEST, result.stdout[-500:]
