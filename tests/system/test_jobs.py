"""Jobs on a real site: started on a page, cancelled, killed in the middle, resumed, and downloaded."""

import io
import os
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from rewardlab import assets
from tests.support.page_client import PageClient
from tests.support.servers import PASSWORD, Deployment, children_of

PHOTOGRAPHS = 30


def wait_for(page: Callable[[], str], words: str, seconds: float = 60) -> str:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if words in (found := page()):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{words!r} did not appear: {found}")


def job_runner(site: Deployment, supervisor: int) -> int:
    """Return the process that runs jobs."""
    return next(pid for pid in children_of(supervisor) if b"annotate.serving.job_process" in _command(pid))


def _command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def test_job_survives_a_cancel_and_a_kill_and_runs_everything_once(tmp_path):
    photographs = tmp_path / "photographs"
    photographs.mkdir()
    for number, portrait in enumerate(sorted(assets.find("demo-faces").glob("*.jpg"))[:PHOTOGRAPHS]):
        shutil.copy(portrait, photographs / f"{number}.jpg")
    with Deployment("sqlite", web_workers=1) as site:
        site.environment["DATA_FOLDERS"] = str(tmp_path)
        site.python("-c", MAKE_LEAD)
        supervisor = site.start_site()
        lead = PageClient(site.address, "lead")
        lead.get("/jobs/new/ingest/")
        options = {"path": "data:0:photographs", "size": "128", "skip_bad": "on", "identity_from": "file", "seed": "0"}
        started = lead.post("/jobs/new/ingest/", **options)
        assert lead.post("/jobs/new/ingest/", **options) == started == "/jobs/1/"

        wait_for(lambda: lead.get("/jobs/1/live"), "Running.")
        lead.post("/jobs/1/do/cancel")
        wait_for(lambda: lead.get("/jobs/1/live"), "Cancelled.")

        lead.post("/jobs/1/do/resume")
        wait_for(lambda: lead.get("/jobs/1/live"), f" of {PHOTOGRAPHS} <small>ingest")
        runner = job_runner(site, supervisor.pid)
        command = children_of(runner)[0]
        os.kill(runner, 9)
        wait_for(lambda: lead.get("/jobs/1/live"), "ended unexpectedly")
        assert command not in site.served_by()

        lead.post("/jobs/1/do/resume")
        wait_for(lambda: lead.get("/jobs/1/live"), "Done.")
        log = lead.read("/jobs/1/log").decode()
        assert log.count("$ python manage.py ingest") == 3
        assert f"{PHOTOGRAPHS} files" in log
        lead.get("/jobs/new/degrade/")
        lead.post("/jobs/new/degrade/", preset="demo", export="on", skip_bad="on")
        wait_for(lambda: lead.get("/jobs/2/live"), "Done.")
        names = zipfile.ZipFile(io.BytesIO(lead.read("/jobs/2/result"))).namelist()
        assert names == sorted(f"face-{number:06d}.png" for number in range(1, PHOTOGRAPHS + 1))
    assert site.served_by() == []


MAKE_LEAD = f"""
import django; django.setup()
from annotate.models import User
User.objects.create_user("lead", password={PASSWORD!r}, is_staff=True)
"""
