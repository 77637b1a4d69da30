"""Reward feedback learning: trained weights, memory options, resuming, reward model updates, alarms, refusals."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command
from safetensors.torch import load_file, save_file

from refl import dataset, prepare
from refl.configs import PRESETS, ReflConfig
from refl.policies import open_policy
from refl.policies.noise import Noise
from refl.restorers import open_restorer
from refl.restorers.spec import Subject
from refl.train_refl import ReflTrainer, train
from rewardlab import images, manifest, tables
from rewardlab.reward_model import model, reward_sources
from rewardlab.snapshot_images import DataError
from rewardlab.training import checkpoint, inputs, runs
from rewardlab.training.loop import TrainError
from rewardlab.training.run_schema import GoldPoint, HeldOutPoint, ReflPoint
from rewardlab.training.runs import RunError
from tests.support import diffusion
from tests.support.stopping import stop_after
from tests.support.tables import squeezed
from tests.support.tuning import losses_of, names_of, prepared, tuned

pytestmark = pytest.mark.filterwarnings("ignore:There are modules")


@pytest.mark.parametrize("base", ["one-step", "multi-step"])
def test_three_updates_change_exactly_the_trainable_weights(place, config, base, monkeypatch):
    trainers = []
    monkeypatch.setattr(ReflTrainer, "_finish", lambda self: trainers.append(self))
    run = prepared(place, config, f"moves-{base}", base=base)
    train(run, images=place / "images", device="cpu")
    trainer = trainers[0]
    before = open_policy.open_base({}, run.start, config)
    for name, value in before.state_dict().items():
        assert torch.equal(value, trainer.policy.state_dict()[name]) != (name in names_of(trainer.policy)), name
    untuned = model.load(place / "runs" / "frm" / "model").state_dict()
    for name, value in trainer.frm.state_dict().items():
        assert torch.equal(value, untuned[name]) != (name in names_of(trainer.frm)), name
    judge = model.load(place / "runs" / "judge" / "model").state_dict()
    assert all(torch.equal(value, judge[name]) for name, value in trainer.monitor.judge.state_dict().items())


def test_logged_total_is_the_weighted_sum_of_the_terms(place, config):
    run = tuned(place, replace(config, lambda_lpips=0.02, iterations=1), "terms")
    point = run.points_of(ReflPoint)[0]
    assert point.terms.keys() == {"reward", "lpips", "dwt", "reg"}
    weights = {"reward": 0.1, "lpips": 0.02, "dwt": 0.01, "reg": 0.1}
    expected = sum(weights[name] * term.value for name, term in point.terms.items())
    assert point.loss == pytest.approx(expected, abs=1e-6)
    assert point.reward == pytest.approx(-point.terms["reward"].value)
    assert all(term.gradient > 0 for name, term in point.terms.items() if name != "reg")
    assert point.terms["reg"].gradient == 0  # at the first step the weights are the base's


@pytest.mark.parametrize("reg", ["residual", "eps", "gauss_l2", "softmax_kl"])
def test_each_regularisation_starts_at_zero_and_grows(place, config, reg):
    run = tuned(place, replace(config, reg=reg, iterations=3), f"reg-{reg}", base="multi-step", judge=None)
    values = [point.terms["reg"].value for point in run.points_of(ReflPoint)]
    assert values[0] == pytest.approx(0, abs=1e-9)
    assert values[-1] > 0


@pytest.mark.parametrize("option", [{"memory": "frugal"}, {"checkpointing": True}], ids=["frugal", "checkpointing"])
@pytest.mark.parametrize("base", ["one-step", "multi-step"])
def test_memory_options_leave_the_result_unchanged(place, config, option, base):
    plain = tuned(place, config, "plain", base=base, judge=None)
    saving = tuned(place, replace(config, **option), "saving", base=base, judge=None)
    assert losses_of(saving) == pytest.approx(losses_of(plain), abs=1e-5)


@pytest.mark.parametrize("base", ["osediff", "diffbir"])
def test_large_bases_tune_on_tiny_checkpoints(place, tmp_path, base):
    """Only the sizes differ from a tuning run on a GPU: settings of App. B, including LPIPS."""
    config = replace(
        PRESETS[base], iterations=2, batch_size=2, accumulation=2, steps=5, frm_every=1, log_every=1, save_every=1,
        evaluate_every=2, held_out=2, prompt="caption",
    )  # fmt: skip
    sd = diffusion.stable_diffusion(tmp_path / "sd")
    if base == "osediff":
        files = {"sd": sd, "checkpoint": diffusion.osediff(tmp_path / "osediff_face.pkl", sd)}
    else:
        files = {
            "sd": sd,
            "checkpoint": diffusion.controlnet(tmp_path / "v1_face.pth", sd),
            "swinir": diffusion.swinir(tmp_path / "face_swinir_v1.ckpt", **diffusion.TINY_SWINIR),
        }
    run = tuned(place, config, f"large-{base}", base=None, files=files | {"accept_licence": True})
    point = run.points_of(ReflPoint)[0]
    assert point.terms.keys() == {"reward", "lpips", "dwt", "reg"}
    opened = open_policy.open_run(run)
    base_policy = open_policy.open_base(files, run.start, config)
    moved = [not torch.equal(value, opened.base[name]) for name, value in opened.trainable().items()]
    assert sum(moved) > len(moved) / 2
    assert all(torch.equal(value, opened.base[name]) for name, value in base_policy.trainable().items())
    restorer, lq = open_restorer(f"large-{base}", run_root=place / "runs"), torch.rand(1, 3, 64, 64)
    restored = [restorer.restore(lq, [Subject(1, caption)]) for caption in ("a man", "a woman of 40", "a man")]
    assert restored[0].shape == (1, 3, 64, 64)
    assert torch.equal(restored[0], restored[2])
    assert not torch.equal(restored[0], restored[1]), "a restorer tuned with captions must use them"
    with pytest.raises(ValueError, match="pass the subjects"):
        restorer.restore(lq)


def test_run_without_a_state_begins_its_curve_again(place, config):
    run = prepared(place, replace(config, iterations=1), "unsaved", judge=None)
    run.append(HeldOutPoint(step=0, held_out={"psnr": 1.0}))  # killed before its first state
    train(run, images=place / "images", device="cpu")
    assert [point.step for point in run.points_of(HeldOutPoint)] == [0, 1]


def command(place, name: str, *options: str) -> list[str]:
    return [
        "manage.py", "refl", "--run", name, "--base", "compact", "--base-run", "one-step", "--frm", "frm",
        "--faces", str(place / "faces.jsonl"), "--iterations", "12", "--batch-size", "2", "--lambda-lpips", "0",
        "--frm-every", "2", "--log-every", "1", "--evaluate-every", "6", "--save-every", "2", "--held-out", "2",
        "--learning-rate", "1e-3", "--device", "cpu", *options,
    ]  # fmt: skip


def environment(place) -> dict[str, str]:
    # An unreachable database: training machines do not have one.
    return {
        **os.environ, "RUN_ROOT": str(place / "runs"), "DATA_ROOT": str(place),
        "DATABASE_URL": "postgres://nobody@127.0.0.1:9/nothing", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(place):
    subprocess.run([sys.executable, *command(place, "whole")], env=environment(place), check=True)
    return runs.open_run(place / "runs", "whole")


def test_killed_run_resumes_bit_for_bit_without_database(place, uninterrupted):
    run = runs.open_run(place / "runs", "killed")
    start = [sys.executable, *command(place, "killed")]
    process = subprocess.Popen(start, env=environment(place))
    while len(losses_of(run)) < 3 or not run.states():
        assert process.poll() is None, "the process ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < len(losses_of(run)) < 12
    assert not run.is_done()
    subprocess.run(start, env=environment(place), check=True)

    def trace(run):
        same = {"time": None}
        return [
            msgspec.structs.replace(point, **same, **({"rate": None} if isinstance(point, ReflPoint) else {}))
            for point in run.points()
        ]

    assert trace(run) == trace(uninterrupted)
    assert weights_of(run).keys() == weights_of(uninterrupted).keys()
    assert all(torch.equal(value, weights_of(run)[name]) for name, value in weights_of(uninterrupted).items())


def test_stopped_run_resumes_at_the_step_of_the_stop(place, config):
    config = replace(config, save_every=99, log_every=3)
    whole, stopped = tuned(place, config, "straight"), prepared(place, config, "stopped")
    with pytest.raises(KeyboardInterrupt):
        train(stopped, images=place / "images", device="cpu", on_progress=stop_after(2))
    assert checkpoint.saved_step(stopped.checkpoint) == 2
    train(stopped, images=place / "images", device="cpu")
    assert [point.step for point in stopped.points_of(ReflPoint)] == [2, 3]
    assert all(torch.equal(value, weights_of(stopped)[name]) for name, value in weights_of(whole).items())


def weights_of(run) -> dict[str, torch.Tensor]:
    files = sorted(run.folder.glob("model/**/*.safetensors")) + sorted(run.folder.glob("frm/*.safetensors"))
    assert files
    return {f"{file.name}/{name}": value for file in files for name, value in load_file(file).items()}


def test_presets_apply_the_defaults_of_their_base(place, settings):
    """The learning rate of a LoRA is too high for a ControlNet."""
    arguments = command(place, "unfit")
    arguments[arguments.index("one-step")] = "multi-step"
    settings.RUN_ROOT = place / "runs"
    with pytest.raises(CommandError, match="--base-run multi-step needs --base compact-multi-step, not compact"):
        call_command(*arguments[1:])
    assert not (place / "runs" / "unfit" / "config.json").exists()
    arguments[arguments.index("compact")] = "compact-multi-step"
    subprocess.run([sys.executable, *arguments, "--iterations", "1"], env=environment(place), check=True)
    tuned = runs.open_run(place / "runs", "unfit").description().config
    assert (tuned["base"], tuned["lambda_reward"]) == ("compact", 0.02)


def test_two_processes_have_the_loss_of_one(place, uninterrupted):
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2"]
    launch += ["--main_process_port", "0", *command(place, "two")]
    done = subprocess.run(launch, env=environment(place), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        {point.step: point.held_out for point in run.points_of(HeldOutPoint)}
        for run in (uninterrupted, runs.open_run(place / "runs", "two"))
    )
    assert ours.keys() == theirs.keys() == {0, 6, 12}
    assert all(theirs[step] == pytest.approx(ours[step], rel=1e-3) for step in ours)


def test_frm_update_learns_to_prefer_photographs(place, config):
    run = tuned(place, replace(config, iterations=12, frm_learning_rate=3e-3, learning_rate=1e-6), "updates")
    losses_of_frm = [point.frm_loss for point in run.points_of(ReflPoint)]
    assert np.mean(losses_of_frm[-3:]) < 0.8 * np.mean(losses_of_frm[:3])
    gold = run.points_of(GoldPoint)
    assert [point.gold["contested"].pairs for point in gold] == [6] * len(gold)
    card = squeezed((run.folder / "frm" / "README.md").read_text())
    assert f"| contested | {gold[-1].gold['contested'].agreement:.1%} | 6 |" in card
    assert f"sha256 {run.description().manifest.sha256}" in card
    frozen = tuned(place, replace(config, frm_update=False), "frozen")
    assert [point.frm_loss for point in frozen.points_of(ReflPoint)] == [None] * 3
    assert not (frozen.folder / "frm").exists()


# Results


def test_tuned_restorer_opens_by_name_and_share(place, config):
    run = tuned(place, config, "result")
    lq = dataset.held_out(dataset.read(place / "faces.jsonl")[1], place / "images", 128, 3).lq
    full, half, none = (
        open_restorer(name, run_root=place / "runs").restore(lq) for name in ("result", "result@0.5", "result@0")
    )
    base = open_restorer("one-step", run_root=place / "runs").restore(lq)
    assert torch.allclose(none, base, atol=1e-5)
    assert (full - base).abs().mean() > 2 * (none - base).abs().mean()
    assert 0 < (half - base).abs().mean() < (full - base).abs().mean()
    alone = open_restorer("result", run_root=place / "runs").restore(lq[1:2])
    assert torch.allclose(alone, full[1:2], atol=1e-4)
    unfused = open_policy.open_run(run)
    with torch.no_grad():
        latents = unfused.trajectory(lq, [""] * 3, Noise([0, 0, 0])).latents
    assert torch.allclose(unfused.decode(latents).clamp(0, 1), full, atol=1e-5)
    written = squeezed((run.model / "README.md").read_text())
    header = dataset.read(place / "faces.jsonl")[0]
    assert header["sha256"] in written
    assert r"| lambda\_dwt | 0.01 |" in written
    change = run.points_of(HeldOutPoint)[-1].against_start["psnr"]
    assert (change.low, change.high) == (None, None)  # fewer than six faces
    assert f"| psnr | {tables.decimals(change.mean, 4, signed=True)} | – |" in written
    shown = images.read(run.folder / "pictures" / "000003" / "00.png")
    assert shown.shape == (128, 128, 3)


def test_early_stop_keeps_the_weights_before_the_alarm(place, config, monkeypatch):
    found = iter([[], ["hacked"], ["hacked"]])
    monkeypatch.setattr("refl.train_refl.alarms", lambda differences: next(found))
    run = tuned(place, replace(config, iterations=9, evaluate_every=1, early_stop=2), "early")
    assert run.status().step == 3
    assert run.status().state == "done"
    assert "2 alarms in a row" in run.status().error
    monkeypatch.undo()
    short = tuned(place, replace(config, iterations=1, evaluate_every=1), "short")
    ours, theirs = (load_file(next(each.model.rglob("*.safetensors"))) for each in (run, short))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


# Refusals and failures


def test_invalid_inputs_are_refused_before_the_tuning(place, config, tmp_path):
    with pytest.raises(RunError, match="judge must differ from the reward model"):
        prepared(place, config, "no", judge="frm")
    with pytest.raises(RunError, match="--frm one-step: this run is of kind base, not frm"):
        prepared(place, config, "no", frm="one-step")
    with pytest.raises(RunError, match=r"--base-run RUN is needed.*train_base"):
        prepared(place, config, "no", base=None)
    with pytest.raises(FileNotFoundError, match="stable-diffusion-2-1-base"):
        prepared(place, replace(PRESETS["osediff"], held_out=2), "no")
    with pytest.raises(ValueError, match="residual needs a ControlNet"):
        prepared(place, replace(config, reg="residual"), "no")
    assert not (place / "runs" / "no").exists()


def test_faces_without_captions_are_refused(place, config, tmp_path):
    run = runs.open_run(tmp_path, "uncaptioned")
    rows = dataset.read(place / "faces.jsonl")[1]
    training = next(row for row in rows if row.split == "train")
    dataset.write(run.faces, [replace(row, caption="" if row is training else row.caption) for row in rows])
    sources = prepare.Sources(**{role: runs.open_run(place / "runs", name) for role, name in
                               (("frm", "frm"), ("base", "one-step"))})  # fmt: skip
    with pytest.raises(DataError, match=f"1 of the .* have no caption .the first: face {training.face} of split train"):
        prepare.prepare(run, config, sources, images=place / "images")


def test_reward_model_of_a_folder_tunes_like_its_run(place, config):
    of_run = tuned(place, replace(config, iterations=1), "by-run", judge=None)
    folder = reward_sources.find(str(place / "runs" / "frm" / "model"), place / "runs", "--frm")
    assert folder.kind == "folder"
    run = runs.open_run(place / "runs", "by-folder")
    shutil.rmtree(run.folder, ignore_errors=True)
    run.folder.mkdir()
    shutil.copy(place / "faces.jsonl", run.faces)
    sources = prepare.Sources(frm=folder, base=runs.open_run(place / "runs", "one-step"))
    frozen = replace(config, iterations=1)
    prepare.prepare(run, frozen, sources, images=place / "images")
    train(run, images=place / "images", device="cpu")
    assert run.description().start["frm_sha256"] == inputs.content_sha256(folder.path)
    assert losses_of(run) == losses_of(of_run)
    with pytest.raises(RunError, match=r"--frm nothing.*"):
        reward_sources.find("nothing", place / "runs", "--frm")


def test_gold_faces_and_people_are_refused(place, config, tmp_path):
    run = runs.open_run(tmp_path, "gold")
    gold = next(row for row in manifest.read(place / "manifest.jsonl")[1] if row.split == "gold")
    rows = dataset.read(place / "faces.jsonl")[1]
    dataset.write(run.faces, [replace(rows[0], identity=gold.identity), *rows[1:]])
    sources = prepare.Sources(**{role: runs.open_run(place / "runs", name) for role, name in
                               (("frm", "frm"), ("base", "one-step"))})  # fmt: skip
    with pytest.raises(DataError, match=f"Face {rows[0].face} .identity {gold.identity}.*gold set"):
        prepare.prepare(run, config, sources, images=place / "images")


def test_nonfinite_loss_stops_the_run_with_the_last_state(place, config):
    run = tuned(place, config, "nan")
    tensors = load_file(run.checkpoint)
    name = next(name for name in tensors if name.startswith("weight/policy/"))
    tensors[name] = torch.full_like(tensors[name], math.nan)
    run.checkpoint.unlink()
    save_file(tensors, run.checkpoint, {"step": "2"})
    run.write_status("stopped", step=2, total=3)
    with pytest.raises(TrainError, match=r"step 3 is not finite \(nan\).*--continue-from nan@2"):
        train(run, images=place / "images", device="cpu")
    assert json.loads((run.folder / "status.json").read_text())["state"] == "failed"


def test_indivisible_batches_and_invalid_settings_are_refused(place, config):
    with pytest.raises(TrainError, match=r"2 faces per step cannot be divided.*multiple of 3"):
        tuned(place, replace(config, accumulation=3), "odd")
    for wrong, message in (
        ({"eta": 2.0}, "eta must be in"),
        ({"lambda_reg": -1.0}, "lambdas must be finite and not negative"),
        ({"base": "osediff"}, "residual needs a ControlNet"),
        ({"held_out": 0}, "held_out must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            ReflConfig(**wrong)


def test_frugal_memory_has_micro_batches_of_one_face():
    config = ReflConfig(memory="frugal", accumulation=2, checkpointing=False).divided(4)
    assert (config.batch_size, config.accumulation, config.checkpointing) == (12, 3, True)
    assert ReflConfig(accumulation=2).divided(4).accumulation == 2


def test_defaults_are_the_papers():
    """Check the defaults against App. B."""
    diffbir, osediff = PRESETS["diffbir"], PRESETS["osediff"]
    names = ("lambda_lpips", "lambda_dwt", "lambda_reward", "lambda_reg")
    assert [getattr(diffbir, name) for name in names] == [0.01, 0.01, 0.005, 1e-4]
    assert [getattr(osediff, name) for name in names] == [0.02, 0.01, 0.005, 1.0]
    for config in (diffbir, osediff):
        assert (config.learning_rate, config.batch_size, config.frm_every, config.backprop_steps) == (5e-5, 12, 10, 1)


def test_changed_faces_file_is_refused(place, tmp_path):
    path = Path(shutil.copy(place / "faces.jsonl", tmp_path))
    path.write_text(path.read_text().replace("number 1.", "number 2."))
    with pytest.raises(DataError, match="was changed or truncated"):
        dataset.read(path)
