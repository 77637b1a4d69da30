"""The paper's Table 4 from one command, with small models, simulated annotators and trainings of a few steps."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNS = ("multi-step", "multi-step-variant-1", "multi-step-variant-2", "multi-step-variant-3", "multi-step-ours")


def reproduce(folder: Path, lab: Path, *words: str) -> str:
    # As in a lab that keeps its own data elsewhere.
    own = {"DATA_ROOT": str(lab), "RUN_ROOT": str(lab / "runs"), "PYTHONUNBUFFERED": "1"}
    made = subprocess.run(
        [sys.executable, "manage.py", "reproduce", "--table", "4", "--preset", "compact", "--size", "tiny", "--folder",
         str(folder), *words],
        cwd=ROOT, env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=800,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout
    return made.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path, str]:
    folder, lab = tmp_path_factory.mktemp("reproduction") / "tiny", tmp_path_factory.mktemp("lab")
    return folder, lab, reproduce(folder, lab)


def test_table_4_stands_beside_the_papers_with_runs_and_notes(made):
    folder, _, out = made
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "Variant 1 paper ✓ ✓ 1.9583 54.70 5.6572" in lines
    assert sum(line.startswith("here ") for line in lines) == 5
    assert any("SIMULATED" in line for line in lines) and any("not comparable" in line for line in lines)
    assert "- The one-step base stands for OSEDiff, the multi-step base for DiffBIR." in lines
    assert any(line.startswith("- Evaluation table-4: 2 faces of split test") for line in lines)
    assert "here − paper" not in out
    tex, page = (folder / "table-4.tex").read_text(), (folder / "tables-compact.html").read_text()
    assert r"\begin{tabular}" in tex and "1.9583" in tex and "SIMULATED" in tex
    assert all(
        f"<code>manage.py {word}" in page for word in ("train_frm", "refl --base compact-multi-step", "evaluate")
    )
    assert "FID (EfficientNet-Lite0 features)" in page  # measured here, not in the paper's table
    assert "http" not in page and "<script" not in page


def test_every_training_records_what_it_cost(made):
    for name in (*RUNS, "frm", "judge"):
        cost = json.loads((made[0] / "runs" / name / "status.json").read_text())["cost"]
        assert cost["seconds"] > 0 and cost["devices"] == 1 and cost["device"].startswith("CPU")
        assert cost["device_hours"] == pytest.approx(cost["seconds"] / 3600, abs=1e-4)
        assert cost["peak_memory"] > 10_000_000


def test_finished_reproduction_repeats_nothing_and_estimates_from_itself(made):
    folder, lab, _ = made
    before = {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*/*.json*")}
    again = reproduce(folder, lab)
    steps = json.loads((folder / "compact.json").read_text())["steps"]
    assert again.count("already done") == len(steps)
    assert {path: path.stat().st_mtime_ns for path in (folder / "runs").glob("*/*.json*")} == before
    plan = reproduce(folder, lab, "--plan")
    assert "as measured here, peak memory" in plan and "Missing: nothing" in plan
    assert {path.name for path in lab.iterdir()} <= {"secret_key"}
