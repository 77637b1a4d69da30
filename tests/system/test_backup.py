"""A backup is worth what comes back from it: made under load and put back into a fresh site, on both databases."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace as changed

import pytest

from annotate.backup import backup
from annotate.backup.database_dump import BackupError
from tests.support.load import Client, run_clients
from tests.support.servers import POSTGRES_HINT, ROOT, Deployment, has_postgres

DATABASES = [
    "sqlite",
    pytest.param(
        "postgres", marks=[pytest.mark.postgres, pytest.mark.skipif(not has_postgres(), reason=POSTGRES_HINT)]
    ),
]
STILL_PROTECTED = """
import json, django
django.setup()
from django.db import DatabaseError, connection
from annotate.models import AuditEntry, Judgement, Preference
refused = []
for model in (Judgement, AuditEntry):
    try:
        model.objects.all().delete() if model is AuditEntry else model.objects.update(choice="first")
    except DatabaseError as error:
        refused.append("append-only" in str(error))
future = "annotate_of_the_future" in connection.introspection.table_names()
votes = sum(Preference.objects.values_list("judgements", flat=True))
print(json.dumps({"refused": refused, "future": future, "votes": votes}))
"""

NEW_TABLE = """
import django
django.setup()
from django.db import connection
connection.cursor().execute("CREATE TABLE annotate_of_the_future (id integer primary key)")
"""


def ask(site: Deployment, code: str) -> dict:
    return json.loads(site.python("-c", code, stdout=subprocess.PIPE).stdout.splitlines()[-1])


def told(site: Deployment, *arguments: str) -> tuple[int, str]:
    """A command's exit code and words."""
    result = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=site.environment, capture_output=True, text=True
    )
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize("database", DATABASES)
def test_what_was_acknowledged_before_the_backup_began_comes_back_and_judging_goes_on(database, tmp_path):
    folder = tmp_path / "backup"
    with Deployment(database) as site:
        seeded = site.ask(
            "tests.bench.seed", "--faces", "400", "--annotators", "4", "--overlap", "2", "--contested-only"
        )
        site.start_web()
        clients = [Client(site.port, token, seed=n) for n, token in enumerate(seeded["tokens"])]
        for client in clients:
            client.start()
        while sum(len(client.tally.acknowledged) for client in clients) < 40:
            assert all(client.is_alive() for client in clients)
            time.sleep(0.02)
        before = {key for client in clients for key in list(client.tally.acknowledged)}
        code, words = told(site, "backup", str(folder))
        assert code == 0, words
        after = sum(len(client.tally.acknowledged) for client in clients)
        assert after > len(before), "the backup must have been made under load"
        assert not any(client.tally.finished for client in clients)
        for client in clients:
            client.answers = 0
        for client in clients:
            client.join()
        secret = (site.folder / "secret_key").read_text()
        refused, words = told(site, "recover", str(folder))
        assert refused
        assert "not empty" in words
    with Deployment(database) as fresh:
        fresh.python("-c", NEW_TABLE)  # newer code was here before
        code, words = told(fresh, "recover", str(folder))
        assert code == 0, words
        stored = fresh.ask("tests.bench.audit")
        assert before <= set(stored["keys"])
        assert len(before) <= len(stored["keys"]) <= after + len(clients)
        assert [stored[name] for name in ("doubled", "over_assigned", "slots_wrong", "counters_wrong")] == [0] * 4
        protected = ask(fresh, STILL_PROTECTED)
        assert protected == {"refused": [True, True], "future": False, "votes": len(stored["keys"])}
        assert (fresh.folder / "secret_key").read_text() == secret
        fresh.start_web()
        tallies = run_clients([Client(fresh.port, token, answers=5, seed=9) for token in seeded["tokens"]])
        assert [len(tally.acknowledged) for tally in tallies] == [5] * 4
        assert sum(tally.server_errors for tally in tallies) == 0


WITH_PICTURES = """
import hashlib, django
django.setup()
import numpy as np
from django.conf import settings
from pathlib import Path
from annotate.common import image_store
from annotate.models import Candidate, Predictor
from tests.support.factories import make_campaign
make_campaign(faces=2)
for candidate in Candidate.objects.all():
    candidate.sha256 = image_store.store_png(np.full((8, 8, 3), candidate.pk, dtype=np.uint8))
    candidate.save()
place = Path(settings.PREDICTOR_ROOT)
place.mkdir(parents=True)
(place / "svm-1.skops").write_bytes(b"model")
Predictor.objects.create(file="svm-1.skops", sha256=hashlib.sha256(b"model").hexdigest())
"""


def test_pictures_predictors_and_secrets_come_back_and_whatever_is_damaged_is_refused_by_name(tmp_path):
    folder = tmp_path / "backup"
    with Deployment("sqlite") as site:
        site.python("-c", WITH_PICTURES)
        assert told(site, "backup", str(folder), "--with-images")[0] == 0
        first = backup.read(folder)
        assert (folder / first.secrets).stat().st_mode & 0o777 == 0o600
        assert (folder / first.dump).stat().st_mode & 0o777 == 0o600
        # A later backup to the same folder that is killed leaves the earlier one as it was.
        later = subprocess.Popen(
            [sys.executable, "manage.py", "backup", str(folder)], cwd=ROOT, env=site.environment, start_new_session=True
        )
        while later.poll() is None and len(list(folder.glob("database-*"))) < 2:
            time.sleep(0.001)
        if later.poll() is None:
            os.killpg(later.pid, signal.SIGKILL)
        later.wait()
        assert backup.read(folder).counts == first.counts
        picture = next((site.folder / "media").glob("*/*.png"))
        picture.write_bytes(b"damaged")
        other = tmp_path / "other"
        code, words = told(site, "backup", str(other), "--with-images")
        assert code
        assert picture.stem in words
        assert backup.read(other).images_missing == [picture.stem]

        whole = sorted(path for path in folder.rglob("*") if path.is_file())
        assert {"predictors", "images"} <= {path.relative_to(folder).parts[0] for path in whole}
        manifest = backup.read(folder)
        named = {folder / name for name in manifest.files}
        named |= {folder / "images" / sha[:2] / f"{sha}.png" for sha in backup.listed_images(folder, manifest)}
        for path in sorted(named):
            content = path.read_bytes()
            middle = len(content) // 2
            path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
            with pytest.raises(BackupError, match=path.name):
                backup.read(folder)
            path.unlink()
            with pytest.raises(BackupError, match=f"{path.name} is missing"):
                backup.read(folder)
            path.write_bytes(content)
        killed = tmp_path / "killed"
        shutil.copytree(folder, killed)
        (killed / backup.MANIFEST).unlink()
        newer = tmp_path / "newer"
        shutil.copytree(folder, newer)
        fields = changed(manifest, migrations=[*manifest.migrations, "annotate.9999_future"]).__dict__
        (newer / backup.MANIFEST).write_text(json.dumps(fields))
    with Deployment("sqlite") as fresh:
        for place, expected in ((killed, "not a backup"), (newer, "annotate.9999_future is not known")):
            code, words = told(fresh, "recover", str(place))
            assert code
            assert expected in words
        fresh.python("-c", WITH_PICTURES)
        code, words = told(fresh, "recover", str(folder))
        assert code
        assert "--replace" in words
        shutil.rmtree(fresh.folder / "media")
        (fresh.folder / "predictors" / "svm-1.skops").unlink()
        code, words = told(fresh, "recover", str(folder), "--replace")
        assert code == 0, words
        assert sorted(path.stem for path in (fresh.folder / "media").glob("*/*.png")) == backup.listed_images(
            folder, manifest
        )
        assert (fresh.folder / "predictors" / "svm-1.skops").read_bytes() == b"model"
        assert (fresh.folder / "secret_key").stat().st_mode & 0o777 == 0o600
        assert (fresh.folder / "secret_key.before-recovery").exists()
