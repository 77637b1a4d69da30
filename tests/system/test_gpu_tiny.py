"""All stages of the GPU script on this machine's CPU, with tiny networks."""

import subprocess
import sys

from tests.gpu import session
from tests.gpu.__main__ import STAGES
from tests.support.servers import ROOT


def test_gpu_script_with_tiny_networks_passes_all_checks(tmp_path):
    command = [sys.executable, "-m", "tests.gpu", "--tiny", "--out", str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-5000:]
    ends = {line["stage"]: line["ended"] for line in session.read(tmp_path) if "ended" in line}
    assert ends == {stage.name: "done" for stage in STAGES}
