"""The GPU script: stages that hang, fail or are killed, and what it needs."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.gpu import parity, session, wheels
from tests.gpu.runner import Stage, run
from tests.gpu.session import Session

ROOT = Path(__file__).parents[2]
SECONDS = 8  # until a stage is killed; with less than 5 it would not start


def finishes(given: Session) -> None:
    given.row("Rates", what="fast", rate=2.0)


def hangs(given: Session) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    given.row("Rates", what="slow", rate=0.00012, child=child.pid)
    time.sleep(600)


def fails(given: Session) -> None:
    raise ValueError("no such layer")


def dies(given: Session) -> None:
    given.check("Checks", False, what="sum", found=3)
    os.kill(os.getpid(), signal.SIGKILL)


def has_ended(process: int) -> bool:
    """Return whether the process is gone, or a zombie that was not waited for."""
    status = Path(f"/proc/{process}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


@pytest.fixture(scope="module")
def ended(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    for function in (hangs, fails, dies, finishes):
        name = function.__name__
        given = Session(name, "cpu", True, folder, folder / "work", time.monotonic() + SECONDS, "fork")
        run([(Stage(name, f"What {name}", f"tests.system.test_gpu_script:{name}", SECONDS), given)], commit="abc")
    return folder


@pytest.fixture
def results(ended, tmp_path) -> Path:
    """Results of four stages, of which one hangs, one fails, one is killed and one finishes."""
    return shutil.copytree(ended, tmp_path / "results")


def test_gpu_stage_that_hangs_fails_or_dies_keeps_its_results(results):
    lines = session.read(results)
    assert {line["stage"]: line["ended"] for line in lines if "ended" in line} == {
        "hangs": "out of time", "fails": "failed", "dies": "killed by signal 9", "finishes": "done",
    }  # fmt: skip
    rows = {line["stage"]: line["row"] for line in lines if "row" in line}
    assert rows["finishes"] == {"what": "fast", "rate": 2.0}
    assert has_ended(rows["hangs"]["child"])
    failures = session.failures(lines)
    assert [failure.partition(":")[0] for failure in failures] == ["hangs", "fails", "dies", "dies, Checks"]

    report = session.markdown(lines, {"dies": "What dies", "fails": "What fails", "hangs": "Slow"})
    assert report.index("## What dies") < report.index("## What fails") < report.index("## Slow")
    assert "| sum    | 3       | **no**  |" in report
    assert "| slow   | 1.2e-04 |" in report
    assert "ValueError: no such layer" in report
    assert "commit abc" in report


def test_gpu_results_cut_off_by_kill_are_read_and_stages_dropped(results):
    with (results / session.RESULTS).open("a") as file:
        file.write('{"stage": "finishes", "ta')
    whole = len(session.read(results))
    session.forget(results, {"hangs", "dies"})
    kept = session.read(results)
    assert {line["stage"] for line in kept} == {"fails", "finishes"}
    assert 0 < len(kept) < whole


def test_parity_error_is_relative_to_the_whole_vector():
    found, expected = [torch.tensor([3.0]), torch.tensor([4.4])], [torch.tensor([3.0]), torch.tensor([4.0])]
    assert parity.error(found, expected) == pytest.approx(0.4 / 5)


def test_gpu_script_without_gpu_or_django_says_what_is_missing(tmp_path):
    script = "import sys, runpy; sys.modules['django'] = None; runpy.run_module('tests.gpu', run_name='__main__')"
    command = [sys.executable, "-c", script, "--device", "cuda", "--out", str(tmp_path)]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=hidden, cwd=ROOT)
    assert done.returncode == 1
    assert "ModuleNotFoundError" not in done.stderr
    assert "cuda cannot be used on this machine, so nothing was measured" in done.stdout


def test_wheels_for_the_gpu_are_the_pinned_ones():
    found = wheels.pinned()
    pins = (ROOT / "requirements.txt").read_text() + (ROOT / "requirements-pyiqa.txt").read_text()
    assert "diffusers==" in " ".join(found)
    assert all(pin in pins.splitlines() for pin in found if "==" in pin)
