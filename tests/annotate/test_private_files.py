"""Files of an installation are for their owner only."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from annotate.common import private_files
from tests.support.servers import ROOT

WRITE = """
import django
django.setup()
from pathlib import Path
from django.conf import settings
from django.db import connection
from rewardlab.files import write_atomic
connection.cursor().execute("CREATE TABLE t (id integer)")
write_atomic(settings.MEDIA_ROOT / "ab" / "image.png", b"")
(settings.RUN_ROOT / "run").mkdir(parents=True)
"""


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.stat().st_mode & 0o777 for path in [root, *root.rglob("*")]}


@pytest.mark.parametrize(("umask", "excluded"), [("", 0o077), ("007", 0o007)])
def test_new_files_are_private_or_for_the_group_of_umask(tmp_path, umask, excluded):
    root = tmp_path / "data"
    environment = {**os.environ, "DATA_ROOT": str(root), "DJANGO_SETTINGS_MODULE": "annotate.settings"}
    for name in ("DATABASE_URL", "MEDIA_ROOT", "RUN_ROOT", "UMASK"):
        environment.pop(name, None)
    environment |= {"UMASK": umask} if umask else {}
    result = subprocess.run([sys.executable, "-c", WRITE], cwd=ROOT, env=environment, umask=0, capture_output=True)
    assert result.returncode == 0, result.stderr
    found = modes(root)
    assert {"secret_key", "db.sqlite3", "media/ab/image.png", "runs/run"} <= set(found)
    assert {name: mode for name, mode in found.items() if mode & excluded} == {}
    assert (found["media/ab"], found["media/ab/image.png"]) == (0o777 & ~excluded, 0o666 & ~excluded)


@pytest.fixture
def loose_root(settings, tmp_path, monkeypatch):
    """A data folder as earlier versions made it."""
    root = settings.DATA_ROOT = tmp_path / "data"
    settings.MEDIA_ROOT, settings.PREDICTOR_ROOT, settings.RUN_ROOT = root / "media", root / "predictors", root / "runs"
    (root / "media" / "ab").mkdir(parents=True)
    monkeypatch.setitem(settings.DATABASES["default"], "NAME", str(root / "db.sqlite3"))
    for name in ("db.sqlite3", "db.sqlite3-wal", "secret_key", "secret_key.before-recovery"):
        (root / name).touch()
        (root / name).chmod(0o644)
    for folder in (root, root / "media", root / "media" / "ab"):
        folder.chmod(0o755)
    return root


@pytest.mark.django_db
def test_migrate_makes_older_files_private_and_says_so(loose_root):
    printed = io.StringIO()
    call_command("migrate", stdout=printed)
    assert f"Made private: {loose_root / 'secret_key'}, which had mode 644." in printed.getvalue()
    within_private_folder = "media/ab"
    assert {name: mode for name, mode in modes(loose_root).items() if mode & 0o077} == {within_private_folder: 0o755}
    assert private_files.find_loose() == []


def test_check_names_each_loose_file(loose_root):
    with pytest.raises(CommandError) as found:
        call_command("check", deploy=True, tags=["security"], fail_level="WARNING")
    for name in ("", "/media", "/db.sqlite3", "/db.sqlite3-wal", "/secret_key"):
        assert f"can read or change {loose_root}{name} (mode" in str(found.value)


def test_check_warns_of_a_proxy_in_production(settings):
    settings.PRODUCTION = True
    with pytest.raises(CommandError, match=r"BEHIND_TLS_PROXY=on"):
        call_command("check", deploy=True, tags=["security"], fail_level="WARNING")
