"""A database of version 0.2 is migrated: its faces stay usable by the names of their files, and nothing is invented."""

import psycopg
import pytest

from tests.support.old_faces import NAMES
from tests.support.servers import POSTGRES_HINT, Deployment, has_postgres


@pytest.mark.parametrize(
    "database",
    ["sqlite", pytest.param("postgres", marks=pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT))],
)
def test_faces_without_data_set_are_migrated(database, tmp_path):
    with Deployment(database) as site:
        if site.postgres:
            with psycopg.connect(site.postgres.url, autocommit=True) as connection:
                connection.execute("CREATE DATABASE old")
            site.environment["DATABASE_URL"] = site.postgres.url.replace("/postgres", "/old")
        else:
            site.environment["DATABASE_URL"] = f"sqlite:///{site.folder / 'old.sqlite3'}"
        found = site.ask("tests.support.old_faces", str(tmp_path))
    captioned, restored, ingested, restored_again = found["printed"]
    # Alice's and Bert's files have one name, so captions and results for them are refused.
    assert found["before"] == [["unnamed", text, ""] for text in ("", "", "Face of cleo/0002.", "Face of dora/0003.")]
    assert found["restored_before"] == 2
    for printed in (captioned, restored):
        assert "ambiguous (2)" in printed
        assert "several photographs have this name: face 1 of unnamed, face 2 of unnamed" in printed
    # Once the folder is ingested again, the content of the files shows whose they are.
    assert "done 3, already there 2" in ingested
    assert found["keys"] == len(NAMES) + 1
    assert found["captions"] == [*(f"Face of {name}." for name in NAMES), ""]
    assert "done 2" in restored_again and found["restored"] == len(NAMES)
    # A new photograph of Alice is hers, and gets her split.
    assert (found["identities"], found["split_of_new"]) == (len(NAMES), "train")
