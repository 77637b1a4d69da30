"""The prepared GPU script: whatever happens to a stage, the others run, and what is known is written down."""

import os
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
    """Gone, or a zombie that nobody has waited for."""
    status = Path(f"/proc/{process}/status")
    return not status.exists() or "State:\tZ" in status.read_text()


@pytest.fixture
def results(tmp_path):
    """The results of four stages, of which one hangs, one fails and one is killed from outside."""
    for function in (hangs, fails, dies, finishes):
        name = function.__name__
        given = Session(name, "cpu", True, tmp_path, tmp_path / "work", time.monotonic() + 8, "fork")
        run([(Stage(name, f"What {name}", f"tests.system.test_gpu_script:{name}", 8), given)], commit="abc")
    return tmp_path


def test_stage_that_hangs_fails_or_dies_leaves_its_results_and_the_next_runs(results):
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


def test_results_cut_off_by_a_kill_are_read_and_single_stages_measured_anew(results):
    with (results / session.RESULTS).open("a") as file:
        file.write('{"stage": "finishes", "ta')
    whole = len(session.read(results))
    session.forget(results, {"hangs", "dies"})
    kept = session.read(results)
    assert {line["stage"] for line in kept} == {"fails", "finishes"}
    assert 0 < len(kept) < whole


def test_errors_are_relative_to_the_whole_expected_vector():
    found, expected = [torch.tensor([3.0]), torch.tensor([4.4])], [torch.tensor([3.0]), torch.tensor([4.0])]
    assert parity.error(found, expected) == pytest.approx(0.4 / 5)


def test_script_needs_no_django_and_says_what_it_cannot_use(tmp_path):
    script = "import sys, runpy; sys.modules['django'] = None; runpy.run_module('tests.gpu', run_name='__main__')"
    command = [sys.executable, "-c", script, "--device", "cuda", "--out", str(tmp_path)]
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=hidden, cwd=Path(__file__).parents[2])
    assert done.returncode == 1
    assert "ModuleNotFoundError" not in done.stderr
    assert "cuda cannot be used here, so nothing was measured" in done.stdout


def test_wheels_are_those_the_project_pins():
    found = wheels.pinned()
    root = Path(__file__).parents[2]
    pins = (root / "requirements.txt").read_text() + (root / "requirements-pyiqa.txt").read_text()
    assert "diffusers==" in " ".join(found)
    assert all(pin in pins.splitlines() for pin in found if "==" in pin)
