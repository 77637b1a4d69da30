"""The JSON of a run folder: what is written is read back, and other contents are refused."""

import json
import math
import shutil
import subprocess
import sys
from dataclasses import dataclass

import msgspec
import pytest

from rewardlab.training.run_schema import Change, HeldOutPoint, ReflPoint, Term
from rewardlab.training.runs import Run, RunError
from tests.support.servers import ROOT


@dataclass(frozen=True)
class Config:
    seed: int = 0


@pytest.fixture
def run(tmp_path):
    made = Run(tmp_path / "tuned")
    header = {"format": "ours", "version": 3, "sha256": "ab", "counts": {"train/svm": 2}, "predictor": {"version": 5}}
    made.create(kind="refl", config=Config(), start={"base": "compact"}, header=header, images=tmp_path)
    return made


def changed(run, **keys):
    path = run.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def test_written_description_reads_back_equal(run):
    found = run.description()
    assert (found.kind, found.version, found.config, found.start) == ("refl", 1, {"seed": 0}, {"base": "compact"})
    assert (found.manifest.counts, found.manifest.predictor) == ({"train/svm": 2}, {"version": 5})
    assert found.code["torch"]


def test_recorded_commit_of_untracked_code_is_unknown(tmp_path):
    """An installation may lie in the repository of another project, whose commit says nothing about this code."""
    site = shutil.copytree(ROOT / "rewardlab", tmp_path / "site" / "rewardlab").parent
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "other"], cwd=tmp_path, check=True)
    code = "from rewardlab.training import runs; print(runs.__file__, runs.code_version()['commit'], sep='|')"
    result = subprocess.run([sys.executable, "-c", code], cwd=site, capture_output=True, text=True, check=True)
    file, commit = result.stdout.strip().split("|")
    assert file.startswith(str(site))
    assert commit == "unknown (not a git checkout)"


def test_written_points_read_back_equal(run):
    written = [
        HeldOutPoint(step=0, held_out={"psnr": 20.5}),
        ReflPoint(step=1, loss=0.5, reward=-1.0, terms={"reg": Term(0.1, 0.2)}, rate=3.0),
        HeldOutPoint(step=1, held_out={"psnr": 21.0}, against_start={"psnr": Change(0.5, 0.4, 0.6)}, alarms=["a"]),
    ]
    for point in written:
        run.append(point)
    with run.curve.open("a") as curve:
        curve.write('{"step": 2, "lo')
    times = [point.time for point in run.points()]
    assert times == sorted(times)
    assert [msgspec.structs.replace(point, time=None) for point in run.points()] == written
    assert run.points_of(ReflPoint) == run.points()[1:2]


def test_non_finite_gradient_is_nan_on_disk_and_none_when_read(run):
    run.append(ReflPoint(step=1, loss=0.5, terms={"reg": Term(0.1, math.nan)}))
    run.append(ReflPoint(step=2, loss=0.5))
    run.cut_curve(1)
    assert run.curve.read_text().count("NaN") == run.curve.read_text().count("\n") == 1
    assert run.points_of(ReflPoint)[0].terms == {"reg": Term(0.1, None)}


def test_line_without_step_is_refused_with_line_number(run):
    run.curve.write_text('{"step": 1, "loss": 1}\n{"loss": 1}\n')
    with pytest.raises(RunError, match=r"curve.jsonl, line 2: “step” is missing: remove this line"):
        run.points()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"version": 2, "start": 7}, "has version 2, but this program reads version 1: update the program"),
        ({"start": {"frm": 7}}, "config.json, start: “frm” is not a string"),
        ({"created": "yesterday"}, "config.json: “created” is not a time"),
    ],
)
def test_config_of_wrong_version_or_type_is_refused(run, keys, words):
    changed(run, **keys)
    with pytest.raises(RunError, match=words):
        run.description()


def test_reconfigured_run_keeps_unknown_keys(run):
    changed(run, note="kept")
    run.reconfigure(Config(seed=1))
    assert run.description().config == {"seed": 1}
    assert json.loads((run.folder / "config.json").read_text())["note"] == "kept"


def test_figures_of_wrong_type_are_left_out(run):
    run.curve.write_text('{"step": 1, "loss": true, "reward": 2, "terms": {"reg": 3}}\n')
    assert run.points() == [ReflPoint(step=1, reward=2.0, terms={})]


def test_schema_does_not_load_torch():
    loaded = (
        "import sys, rewardlab.training.run_schema, rewardlab.training.evaluation_schema\nprint('torch' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", loaded], text=True) == "False\n"
