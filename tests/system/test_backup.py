"""A backup made while people judge, restored into an empty site, on both databases."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace as changed
from pathlib import Path

import pytest

from annotate.backup import manifest as manifests
from annotate.backup.manifest import BackupError
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

WITH_IMAGES = """
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
folder = Path(settings.PREDICTOR_ROOT)
folder.mkdir(parents=True)
(folder / "svm-1.skops").write_bytes(b"model")
Predictor.objects.create(file="svm-1.skops", sha256=hashlib.sha256(b"model").hexdigest())
"""


def ask(site: Deployment, code: str) -> dict:
    return json.loads(site.python("-c", code, stdout=subprocess.PIPE).stdout.splitlines()[-1])


def run(site: Deployment, *arguments: str) -> tuple[int, str]:
    """Run a command of the site; return its exit code and its output."""
    result = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=site.environment, capture_output=True, text=True
    )
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize("database", DATABASES)
def test_backup_under_load_restores_every_acknowledged_answer(database, tmp_path):
    folder = tmp_path / "backup"
    with Deployment(database) as site:
        seeded = site.ask(
            "tests.bench.seed", "--faces", "400", "--annotators", "4", "--overlap", "2", "--contested-only"
        )
        site.start_web()
        before, most = back_up_under_load(site, seeded["tokens"], folder)
        secret = (site.folder / "secret_key").read_text()
        code, output = run(site, "recover", str(folder))
        assert code
        assert "not empty" in output
    with Deployment(database) as fresh:
        fresh.python("-c", NEW_TABLE)  # as if newer code had run here before
        code, output = run(fresh, "recover", str(folder))
        assert code == 0, output
        stored = fresh.ask("tests.bench.audit")
        assert before <= set(stored["keys"])
        assert len(before) <= len(stored["keys"]) <= most
        assert [stored[name] for name in ("doubled", "over_assigned", "slots_wrong", "counters_wrong")] == [0] * 4
        protected = ask(fresh, STILL_PROTECTED)
        assert protected == {"refused": [True, True], "future": False, "votes": len(stored["keys"])}
        assert (fresh.folder / "secret_key").read_text() == secret
        fresh.start_web()
        tallies = run_clients([Client(fresh.port, token, answers=5, seed=9) for token in seeded["tokens"]])
        assert [len(tally.acknowledged) for tally in tallies] == [5] * 4
        assert sum(tally.server_errors for tally in tallies) == 0


def back_up_under_load(site: Deployment, tokens: list[str], folder: Path) -> tuple[set[str], int]:
    """Back up while clients judge. Return the keys acknowledged before, and the most answers that it can hold."""
    clients = [Client(site.port, token, seed=number) for number, token in enumerate(tokens)]
    for client in clients:
        client.start()
    while sum(len(client.tally.acknowledged) for client in clients) < 40:
        assert all(client.is_alive() for client in clients)
        time.sleep(0.02)
    before = {key for client in clients for key in list(client.tally.acknowledged)}
    code, output = run(site, "backup", str(folder))
    assert code == 0, output
    after = sum(len(client.tally.acknowledged) for client in clients)
    assert after > len(before), "the backup was not made under load"
    assert not any(client.tally.finished for client in clients)
    for client in clients:
        client.answers = 0
    for client in clients:
        client.join()
    return before, after + len(clients)  # each client may have had one answer under way


@pytest.fixture(scope="module")
def images_site():
    """A site with images and a predictor."""
    with Deployment("sqlite") as site:
        site.python("-c", WITH_IMAGES)
        yield site


@pytest.fixture(scope="module")
def images_backup(images_site, tmp_path_factory) -> Path:
    """A backup of it. Tests that change the backup take a copy."""
    folder = tmp_path_factory.mktemp("backup") / "backup"
    code, output = run(images_site, "backup", str(folder), "--with-images")
    assert code == 0, output
    return folder


def named_files(folder: Path) -> list[Path]:
    """Return the files that the manifest of a backup names."""
    manifest = manifests.read(folder)
    images = [folder / "images" / sha[:2] / f"{sha}.png" for sha in manifests.listed_images(folder, manifest)]
    return sorted({*(folder / name for name in manifest.files), *images})


def test_backup_keeps_secrets_private_and_survives_a_killed_one(images_site, images_backup, tmp_path):
    folder = shutil.copytree(images_backup, tmp_path / "backup")
    first = manifests.read(folder)
    assert (images_backup / first.secrets).stat().st_mode & 0o777 == 0o600
    assert (images_backup / first.dump).stat().st_mode & 0o777 == 0o600
    later = subprocess.Popen(
        [sys.executable, "manage.py", "backup", str(folder)],
        cwd=ROOT, env=images_site.environment, start_new_session=True,
    )  # fmt: skip
    while later.poll() is None and len(list(folder.glob("database-*"))) < 2:
        time.sleep(0.001)
    if later.poll() is None:
        os.killpg(later.pid, signal.SIGKILL)
    later.wait()
    assert manifests.read(folder).counts == first.counts


def test_backup_with_a_damaged_file_is_refused_by_its_name(images_backup, tmp_path):
    folder = shutil.copytree(images_backup, tmp_path / "backup")
    files = named_files(folder)
    assert {"predictors", "images"} <= {path.relative_to(folder).parts[0] for path in files}
    for path in files:
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with pytest.raises(BackupError, match=path.name):
            manifests.read(folder)
        path.unlink()
        with pytest.raises(BackupError, match=f"{path.name} is missing"):
            manifests.read(folder)
        path.write_bytes(content)


def test_recovery_needs_a_whole_known_backup_and_an_empty_site(images_backup, tmp_path):
    unfinished = shutil.copytree(images_backup, tmp_path / "unfinished")
    (unfinished / manifests.FILE).unlink()
    manifest = manifests.read(images_backup)
    newer = shutil.copytree(images_backup, tmp_path / "newer")
    fields = changed(manifest, migrations=[*manifest.migrations, "annotate.9999_future"]).__dict__
    (newer / manifests.FILE).write_text(json.dumps(fields))
    with Deployment("sqlite") as fresh:
        for folder, expected in ((unfinished, "not a backup"), (newer, "annotate.9999_future is not known")):
            code, output = run(fresh, "recover", str(folder))
            assert code
            assert expected in output
        fresh.python("-c", WITH_IMAGES)
        code, output = run(fresh, "recover", str(images_backup))
        assert code
        assert "--replace" in output
        shutil.rmtree(fresh.folder / "media")
        (fresh.folder / "predictors" / "svm-1.skops").unlink()
        code, output = run(fresh, "recover", str(images_backup), "--replace")
        assert code == 0, output
        stored = sorted(path.stem for path in (fresh.folder / "media").glob("*/*.png"))
        assert stored == manifests.listed_images(images_backup, manifest)
        assert (fresh.folder / "predictors" / "svm-1.skops").read_bytes() == b"model"
        assert (fresh.folder / "secret_key").stat().st_mode & 0o777 == 0o600
        assert len(list(fresh.folder.glob("secret_key.before-recovery-*"))) == 1


def test_backup_of_a_damaged_image_fails_and_names_it(images_site, tmp_path):
    image = next((images_site.folder / "media").glob("*/*.png"))
    content = image.read_bytes()
    image.write_bytes(b"damaged")
    folder = tmp_path / "backup"
    code, output = run(images_site, "backup", str(folder), "--with-images")
    image.write_bytes(content)
    assert code
    assert image.stem in output
    assert manifests.read(folder).images_missing == [image.stem]
