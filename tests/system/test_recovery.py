"""Recovery is all or nothing, whatever the backup contains and whatever else is running, on both databases."""

import re
import subprocess
import sys

import pytest

from annotate.backup import recovery
from annotate.backup.manifest import BackupError
from annotate.models import Campaign, Candidate, Predictor, Restorer
from tests.support.factories import make_campaign
from tests.support.servers import ROOT, Deployment
from tests.system.test_backup import DATABASES, WITH_IMAGES, run

REFUSALS = {
    "count": "2 rows of table annotate_face, but the manifest says 3",
    "table": "which no backup contains",
    "file outside": "'../../outside', which no backup contains",
    "absolute": "'/etc/passwd', which no backup contains",
    "odd type": "is damaged",
    "missing migration": "does not list the migration annotate.0001_initial",
    "link": "is a link to a file outside the backup",
    "predictor": "'../../outside.skops' in the column file of annotate_predictor",
    "unknown table": "annotate_planted', which this version does not know",
}
TRIGGERS = {
    "sqlite": ["annotate_judgement_no_delete", "annotate_judgement_no_replace", "annotate_judgement_no_update"],
    "postgres": ["annotate_judgement_append_only", "annotate_judgement_no_truncate"],
}
HOLD = """
import django, sys, time
django.setup()
from django.db import connection
from annotate.common.site_lock import site_lock
if sys.argv[1] == "lock":
    with site_lock("127.0.0.1:8000"):
        print("held", flush=True)
        time.sleep(600)
connection.cursor().execute("SELECT * FROM annotate_user")
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module", params=DATABASES)
def site(request):
    with Deployment(request.param) as site:
        site.python("-c", WITH_IMAGES)
        yield site


def test_tampered_backup_is_refused_and_site_unchanged(site, tmp_path):
    found = site.ask("tests.support.crafted_backups", str(tmp_path))
    results = found["results"]
    assert results.pop("queue")[0] is None
    assert set(results) == set(REFUSALS) if site.database == "sqlite" else {"link", "predictor", "unknown table"}
    for case, (refusal, is_unchanged) in results.items():
        assert REFUSALS[case] in refusal, case
        assert is_unchanged, case
    assert found["left"] == [0, 0, 0]  # no schedule, queued task or session came in
    assert found["triggers"] == TRIGGERS[site.database]


@pytest.mark.parametrize("use", ["lock", "connection"])
def test_recovery_is_refused_while_the_site_is_in_use(site, tmp_path, use):
    backup, before = tmp_path / "backup", set(site.folder.iterdir())
    run(site, "backup", str(backup))
    user = subprocess.Popen(
        [sys.executable, "-c", HOLD, use], cwd=ROOT, env=site.environment, stdout=subprocess.PIPE, text=True
    )
    try:
        assert user.stdout.readline() == "held\n"
        code, output = run(site, "recover", str(backup), "--replace")
    finally:
        user.kill()
        user.wait()
    assert code
    expected = f"Process {user.pid} on .*127.0.0.1:8000 already" if use == "lock" else "The database is in use"
    assert re.search(expected, output)
    assert not [path for path in set(site.folder.iterdir()) - before if "recover" in path.name]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("model", "column", "value"),
    [
        (Candidate, "sha256", "../../../etc/passwd"),
        (Candidate, "source", "../x"),
        (Restorer, "name", "a/b"),
        (Restorer, "name", ".hidden"),
        (Campaign, "slug", "a\\b"),
        (Predictor, "file", "/etc/passwd"),
        (Predictor, "file", "../svm-1.skops"),
        (Predictor, "sha256", "../0"),
    ],
)
def test_row_that_would_name_a_file_elsewhere_is_refused(model, column, value):
    make_campaign()
    Predictor.objects.create(file="svm-1.skops", sha256="0" * 64)
    assert recovery._require_safe_rows() == [("svm-1.skops", "0" * 64)]
    model.objects.filter(pk=model.objects.latest("pk").pk).update(**{column: value})
    with pytest.raises(BackupError, match=f"in the column {column} of {model._meta.db_table}"):
        recovery._require_safe_rows()
