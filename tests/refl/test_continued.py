"""Saved states of a tuning that diverged, runs that continue it, runs that were copied, and several processes."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from django.core.management import CommandError, call_command
from safetensors.torch import load_file
from torch.distributed import run as torchrun

from annotate.management.commands.refl import divided
from refl import prepare
from refl.configs import ReflConfig
from refl.train_refl import train
from rewardlab import assets, manifest
from rewardlab.assets import MissingAsset
from rewardlab.files import sha256_of
from rewardlab.manifest import gold_rows
from rewardlab.snapshot_images import DataError
from rewardlab.training import inputs, runs
from rewardlab.training.loop import Loop, TrainError
from rewardlab.training.processes import new_accelerator
from tests.support.tuning import losses_of, prepared, tuned

pytestmark = pytest.mark.filterwarnings("ignore:There are modules")


def test_diverged_tuning_keeps_finite_states_and_is_continued(place, config, settings):
    settings.RUN_ROOT = place / "runs"
    wild = replace(config, iterations=30, learning_rate=1e12, frm_update=False, keep_states=2)
    run = tuned(place, replace(config, iterations=4, frm_update=False, keep_states=2), "mild")
    assert sorted(run.states()) == [3, 4]
    run.reconfigure(wild)
    with pytest.raises(TrainError, match=r"is not finite.*Finite states of steps .* --continue-from mild@") as error:
        train(run, images=place / "images", device="cpu")
    assert run.status().error == str(error.value)
    assert len(run.states()) == 2
    for state in run.states().values():
        assert all(tensor.isfinite().all() for tensor in load_file(state).values())

    parent, step = "mild", min(run.states())
    options = ["refl", "--run", "saved", "--device", "cpu", "--images", str(place / "images")]
    call_command(
        *options, "--continue-from", f"{parent}@{step}", "--learning-rate", "1e-3", "--iterations", str(step + 2)
    )
    child = runs.open_run(place / "runs", "saved")
    start = child.description().start
    assert (start["parent"], start["parent_step"]) == (parent, str(step))
    assert start["parent_sha256"] == sha256_of(run.states()[step])
    assert child.is_done()
    assert [point.step for point in child.points() if hasattr(point, "loss")] == list(range(1, step + 3))
    assert losses_of(child)[:step] == losses_of(run)[:step]
    assert all(math.isfinite(loss) for loss in losses_of(child))

    for wrong, message in (
        (["--continue-from", "mild@77"], "mild has states of steps"),
        (["--continue-from", "frm"], "of kind frm, not refl"),
        (["--continue-from", "mild", "--frm", "frm"], "Remove --frm"),
        (["--continue-from", "mild", "--base", "dr2"], "mild tunes the base compact, not dr2"),
        (["--continue-from", f"mild@{step}", "--iterations", "1"], "choose --iterations above"),
        (["--continue-from", f"mild@{step}", "--frm-update"], "cannot change frm_update False -> True"),
        ([], "--frm RUN is required"),
    ):
        with pytest.raises(CommandError, match=message):
            call_command("refl", "--run", "refused", "--device", "cpu", *wrong)
        assert not (place / "runs" / "refused").exists()


def test_gradient_that_is_not_finite_is_refused_before_the_update(tmp_path):
    loop = Loop(runs.open_run(tmp_path, "steep"), 5, new_accelerator("fp32", "cpu"), print, unit="images")
    weight = torch.nn.Parameter(torch.zeros(2))
    (weight.sqrt() * 0).sum().backward()
    with pytest.raises(TrainError, match=r"gradient of step 1 is not finite. Start again with a lower --learning-rate"):
        loop.require_finite_gradients([weight])


def test_copied_run_contains_no_path_and_resumes_elsewhere(place, config, tmp_path):
    run = tuned(place, replace(config, iterations=2), "travels")
    assert str(place) not in (run.folder / "config.json").read_text()
    run.reconfigure(config)
    run.write_status("stopped", step=2, total=3)
    for name in ("travels", "frm", "judge"):
        shutil.copytree(place / "runs" / name, tmp_path / "runs" / name)
    shutil.copytree(place / "images", tmp_path / "pictures")
    copied = runs.open_run(tmp_path / "runs", "travels")
    gold = gold_rows(manifest.read(copied.manifest)[1])
    moved = runs.open_run(tmp_path / "runs", "frm")
    with pytest.raises(DataError, match=r"images of the gold pairs of frm are missing in .*nowhere.*--images"):
        prepare.gold_images(gold, moved, tmp_path / "nowhere")
    assert prepare.gold_images(gold, moved, tmp_path / "pictures") == tmp_path / "pictures"
    train(copied, images=tmp_path / "pictures", device="cpu")
    assert copied.is_done()
    shutil.rmtree(tmp_path / "runs" / "judge")
    with pytest.raises(MissingAsset, match=r"started from the judge judge \(sha256 .*which is not on this machine"):
        prepare.open_all(copied, config)
    shutil.copytree(place / "runs" / "frm", tmp_path / "runs" / "judge")
    with pytest.raises(MissingAsset, match="is not the judge from which travels started"):
        prepare.open_all(copied, config)


def test_weights_are_found_by_name_and_sha256_in_the_weights_root(tmp_path, monkeypatch):
    run = runs.open_run(tmp_path, "run")
    first, second = tmp_path / "first" / "a.pth", tmp_path / "second" / "a.pth"
    for path, content in ((first, b"other"), (second, b"right")):
        path.parent.mkdir()
        path.write_bytes(content)
    start = inputs.recorded("checkpoint", second)
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(first.parent))
    with pytest.raises(MissingAsset, match=r"first/a.pth is not the checkpoint .*--weights-root"):
        inputs.locate(run, start, "checkpoint", asset="hpsv2")
    with assets.weights_root(second.parent):
        assert inputs.locate(run, start, "checkpoint") == second
    assert assets.weights_folder() == first.parent
    assert inputs.locate(run, {"checkpoint": str(first)}, "checkpoint") == first, "early runs recorded the path alone"


def test_default_batch_is_divided_among_processes():
    config, notes = ReflConfig(), []
    assert divided(config, 1, given=None, note=notes.append) == config
    assert divided(config, 4, given=None, note=notes.append).accumulation == 3
    assert "4 processes with 3 faces each: --accumulation 3 instead of 12" in notes[0]
    with pytest.raises(CommandError, match="12 faces per step cannot be divided among 5 processes"):
        divided(config, 5, given=None, note=notes.append)
    with pytest.raises(CommandError, match="--accumulation 12 does not divide: choose 1 or 3"):
        divided(config, 4, given=12, note=notes.append)


def test_torchrun_accepts_the_name_of_a_run():
    words = ["--nproc-per-node", "2", "manage.py", "refl", "--run-name", "tuned", "--frm", "first"]
    assert torchrun.get_args_parser().parse_args(words).training_script_args == words[3:]


def test_two_trainings_in_one_process_may_differ_in_precision():
    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(cpu=True, mixed_precision="bf16")
    assert new_accelerator("fp32", "cpu").mixed_precision == "no"


def test_older_runs_take_the_defaults_of_newer_options(place, config):
    from annotate.management.run_options import differences

    run = prepared(place, config, "older")
    file = run.folder / "config.json"
    stored = json.loads(file.read_text())
    for name in ("tau", "keep_states"):
        del stored["config"][name]
    file.write_text(json.dumps(stored))
    assert differences(run, config, None, ()) == []
    assert differences(run, replace(config, tau=22), None, ()) == ["tau 35 -> 22"]


def test_temperature_is_limited_after_each_update_of_the_reward_model(place, config):
    run = tuned(place, replace(config, frm_learning_rate=9.0, iterations=1), "hot")
    moved = load_file(run.checkpoint)["weight/frm/clip.logit_scale"].item()
    assert moved == pytest.approx(math.log(100))


def test_reward_model_learns_from_what_the_reward_sees(multi_step, lq):
    seeds = [3, 4, 5]
    seen, shown = (call(lq, [""] * 3, seeds) for call in (multi_step.generate, multi_step.restore))
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert (seen < 0).any() or (seen > 1).any(), "the reward sees values outside [0, 1]"
    assert not torch.allclose(seen.clamp(0, 1), shown, atol=1e-3), "the colour fix is not part of it"
