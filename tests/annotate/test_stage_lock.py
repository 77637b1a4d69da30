"""The lock on a stage: who is refused, and when it is released."""

import os
import socket
import subprocess
import sys
import time

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from annotate.common import progress_file
from annotate.models import Face
from annotate.pipeline.stage_lock import StageIsRunning, stage_lock
from tests.support.factories import make_face
from tests.support.servers import ROOT

HOLDER = """
import sys
import django
django.setup()
from django.db import connection
from annotate.pipeline.stage_lock import stage_lock
connection.settings_dict["NAME"] = sys.argv[1]
with stage_lock("restore-lanczos", "score-ssim"):
    print("held", flush=True)
    sys.stdin.read()
"""


def lockable(*names: str) -> bool:
    try:
        with stage_lock(*names):
            return True
    except StageIsRunning:
        return False


@pytest.mark.database
def test_second_start_names_the_holder_and_works_after_a_kill(db):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(connection.settings_dict["NAME"])],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert holder.stdout.readline() == b"held\n"
    make_face()
    with pytest.raises(CommandError) as refused:
        call_command("restore", "--restorer", "lanczos")
    assert f"{socket.gethostname()[:20]}, process {holder.pid}, since 20" in str(refused.value)
    assert refused.value.returncode == progress_file.MAY_PASS
    with stage_lock("restore-other"), pytest.raises(StageIsRunning, match="score-ssim"), stage_lock("score-ssim"):
        pass
    assert Face.objects.exists()  # the refusal harms no transaction of the command

    holder.kill()
    holder.communicate()
    deadline = time.monotonic() + 30  # PostgreSQL notices the end of a session within moments
    while not lockable("restore-lanczos", "score-ssim"):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.database
def test_lock_ends_with_its_block_and_is_refused_within(db):
    us = f"process {os.getpid()}"
    for _ in range(2):
        with stage_lock("degrade"), pytest.raises(StageIsRunning, match=us), stage_lock("degrade"):
            pass
