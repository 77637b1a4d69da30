"""Training of the compact bases: Eq. 1 in both variants, the training faces, resuming."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from django.core.management import CommandError, call_command

from refl import dataset, train_base
from refl.configs import BaseConfig
from refl.degradation import PRESETS
from refl.errors import WeightsError
from refl.policies import compact
from refl.policies.diffusion import one_step_x0
from rewardlab.snapshot_images import DataError
from rewardlab.training import checkpoint, runs
from rewardlab.training.loop import Loop
from rewardlab.training.run_schema import BasePoint, HeldOutPoint
from tests.support.restorers import CHANNELS, make_base, write_faces
from tests.support.stopping import stop_after


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretrain")
    write_faces(folder)
    return folder


CONFIG = BaseConfig(iterations=4, batch_size=2, log_every=1, evaluate_every=2, save_every=2, held_out=2)


def prepared(place, config, name: str) -> runs.Run:
    run = runs.open_run(place / "runs", name)
    run.folder.mkdir(parents=True)
    run.faces.write_bytes((place / "faces.jsonl").read_bytes())
    train_base.prepare(
        run, config, images=place / "images", stage_1=stage_1(place) if "multi" in config.variant else None
    )
    return run


def stage_1(place) -> runs.Run:
    run = runs.open_run(place / "runs", "stage-1")
    if not run.exists():
        make_base(run, "one-step")
    return run


@pytest.fixture
def small(monkeypatch):
    original = compact.networks
    monkeypatch.setattr(compact, "networks", lambda variant, channels=CHANNELS: original(variant, channels))


@pytest.mark.parametrize("variant", ["one-step", "multi-step"])
def test_base_learns_and_opens_in_diffusers(place, small, variant):
    config = replace(
        CONFIG, variant=variant, iterations=60, learning_rate=4e-3, evaluate_every=60, save_every=10, log_every=10
    )
    run = prepared(place, config, f"learns-{variant}")
    train_base.train(run, images=place / "images", device="cpu")
    assert run.is_done()
    losses = [point.loss for point in run.points_of(BasePoint)]
    assert (
        losses[-1] < 0.98 * losses[0]
    )  # means of 20 faces, a million numbers, which differ by less than .002 by chance
    seen = [point.held_out for point in run.points_of(HeldOutPoint)]
    assert len(seen) == 1
    assert {"psnr", "lpips", "niqe", "sface"} <= seen[0].keys()
    opened = compact.load(run.model)
    assert opened.size == 128
    assert (run.folder / "pictures" / "000060" / "01.png").exists()
    if variant == "multi-step":
        lq = dataset.held_out(dataset.read(run.faces)[1], place / "images", 128, 2).lq
        expected = compact.load(stage_1(place).model).restore(lq, ["", ""], [0, 0])
        assert torch.allclose(opened.cleaner(lq).clamp(0, 1), expected, atol=1e-6), "stage 1 is not the given base"
    unet = json.loads((run.model / "unet" / "config.json").read_text())
    assert unet["_class_name"] == "UNet2DConditionModel"


def test_one_step_target_yields_the_photograph(place, small):
    """In Eq. 1 lq replaces the noisy latent: a UNet that predicts the target has loss 0 and restores exactly."""
    from accelerate import Accelerator

    run = prepared(place, CONFIG, "target")
    trainer = train_base.BaseTrainer(
        Loop(run, 4, Accelerator(cpu=True), lambda progress: None, unit="images"), CONFIG, place / "images"
    )
    batch = next(trainer.faces.batches(2))
    policy = trainer.policy
    clean, condition = policy.codec.encode(batch.hq), policy.codec.encode(batch.lq)
    noise = (condition - policy.alpha_bar.sqrt() * clean) / (1 - policy.alpha_bar).sqrt()
    policy.unet.forward = lambda *given, **named: type("Output", (), {"sample": noise})()
    assert trainer.loss(batch).item() == pytest.approx(0, abs=1e-10)
    assert torch.allclose(policy.decode(one_step_x0(condition, noise, policy.alpha_bar)), batch.hq, atol=1e-5)


def test_degradation_of_a_step_depends_on_seed_and_step_only(place):
    rows = [row for row in dataset.read(place / "faces.jsonl")[1] if row.split == "train"]
    source = dataset.TrainingFaces(rows, place / "images", 128, PRESETS["paper"], seed=3, mirror=True)
    stream = source.batches(4)
    whole = [next(stream) for _ in range(4)]
    later = next(source.batches(4, start=2))
    assert torch.equal(whole[2].lq, later.lq)
    assert whole[2].seeds == later.seeds
    assert len({seed for batch in whole for seed in batch.seeds}) == 16
    assert {face.split for batch in whole for face in batch.faces} == {"train"}
    parts = [whole[0].part(number, 2) for number in range(2)]
    assert torch.equal(torch.cat([part.hq for part in parts]), whole[0].hq)


def test_processes_load_their_share_alone_and_the_same_faces(place, tmp_path):
    rows = [row for row in dataset.read(place / "faces.jsonl")[1] if row.split == "train"]

    def faces(folder):
        return dataset.TrainingFaces(rows, folder, 128, PRESETS["paper"], seed=3, mirror=True)

    stream = faces(place / "images").batches(4, start=2)
    steps = [next(stream) for _ in range(2)]
    expected = [step.part(number, 4) for step in steps for number in (2, 3)]
    for row in {row for batch in expected for row in batch.faces}:
        (tmp_path / row.hq).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(place / "images" / row.hq, tmp_path / row.hq)  # images of other shares are missing
    before = torch.get_rng_state()
    for workers in (0, 2):
        loaded = faces(tmp_path).batches(4, start=2, parts=4, mine=(2, 3), workers=workers)
        for batch in expected:
            found = next(loaded)
            assert found.faces == batch.faces
            assert found.seeds == batch.seeds
            assert torch.equal(found.hq, batch.hq)
            assert torch.equal(found.lq, batch.lq)
    assert torch.equal(torch.get_rng_state(), before)


def command(place, name: str) -> list[str]:
    return [
        "manage.py", "train_base", "--run", name, "--faces", str(place / "faces.jsonl"), "--iterations", "8",
        "--batch-size", "1", "--log-every", "1", "--evaluate-every", "100", "--save-every", "2", "--held-out", "1",
        "--device", "cpu",
    ]  # fmt: skip


def test_killed_training_resumes_bit_for_bit_without_database(place, settings):
    environment = {
        **os.environ, "RUN_ROOT": str(place / "runs"), "DATA_ROOT": str(place),
        "DATABASE_URL": "postgres://nobody@127.0.0.1:9/nothing", "OMP_NUM_THREADS": "1",
    }  # fmt: skip

    def trace(run):
        return [point.loss for point in run.points_of(BasePoint)]

    whole, killed = (runs.open_run(place / "runs", name) for name in ("whole", "killed"))
    subprocess.run([sys.executable, *command(place, "whole")], env=environment, check=True)
    process = subprocess.Popen([sys.executable, *command(place, "killed")], env=environment)
    while len(trace(killed)) < 3 or not killed.states():
        assert process.poll() is None, "the process ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not killed.is_done()
    subprocess.run([sys.executable, *command(place, "killed")], env=environment, check=True)
    assert trace(killed) == trace(whole)
    ours, theirs = (checkpoint.load_file(run.checkpoint) for run in (killed, whole))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    settings.RUN_ROOT = place / "runs"
    with pytest.raises(CommandError, match="The run killed is done"):
        call_command(*command(place, "killed")[1:])


def test_base_is_continued_from_a_saved_state(place, small, settings):
    settings.RUN_ROOT = place / "runs"
    parent = prepared(place, CONFIG, "parent")
    train_base.train(parent, images=place / "images", device="cpu")
    command = ["train_base", "--run", "child", "--device", "cpu", "--continue-from"]
    for wrong, message in (
        (["parent@3"], "parent has states of steps 2, 4 only"),
        (["parent@2", "--variant", "multi-step"], "cannot change variant one-step -> multi-step"),
        (["parent@2", "--faces", str(place / "faces.jsonl")], "Remove --faces"),
        (["parent"], "parent@4 already has 4 steps: choose --iterations above 4"),
    ):
        with pytest.raises(CommandError, match=message):
            call_command(*command, *wrong)
        assert not (place / "runs" / "child").exists()
    call_command(*command, "parent@2", "--learning-rate", "1e-3", "--iterations", "5")
    child = runs.open_run(place / "runs", "child")
    start = child.description().start
    assert child.is_done() and (start["parent"], start["parent_step"]) == ("parent", "2")
    ours, theirs = ([(point.step, point.loss) for point in run.points_of(BasePoint)] for run in (child, parent))
    assert [step for step, _ in ours] == [1, 2, 3, 4, 5]
    assert ours[:3] == theirs[:3] and ours[3] != theirs[3]


def test_stopped_training_resumes_at_the_step_of_the_stop(place, small):
    config = replace(CONFIG, save_every=100, log_every=2)
    whole, stopped = (prepared(place, config, name) for name in ("straight", "stopped"))
    train_base.train(whole, images=place / "images", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train_base.train(stopped, images=place / "images", device="cpu", on_progress=stop_after(3))
    assert checkpoint.saved_step(stopped.checkpoint) == 3
    train_base.train(stopped, images=place / "images", device="cpu")
    assert [point.step for point in stopped.points_of(BasePoint)] == [2, 3, 4]
    ours, theirs = (checkpoint.load_file(run.checkpoint) for run in (stopped, whole))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_compact_lora_skips_full_resolution_convolutions(place):
    """The channels of a latent are 4 x 4 pixels: a LoRA next to them would learn a grid that raises the reward."""
    trained = compact.load(stage_1(place).model).trainable()
    modules = {name.split(".lora_")[0] for name in trained}
    assert any(name.startswith("mid_block.") for name in modules)
    assert not [name for name in modules if name.startswith(("conv_in", "conv_out", "down_blocks.0.", "up_blocks.1."))]


def test_incomplete_base_is_refused_without_network_access(place, tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("a host was looked up"))
    base = shutil.copytree(stage_1(place).model, tmp_path / "base")
    weights = next((base / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(WeightsError, match=rf"{base / 'unet'} cannot be read as UNet2DConditionModel"):
        compact.load(base)
    weights.unlink()
    with pytest.raises(WeightsError, match=rf"{base / 'unet'} cannot be read as UNet2DConditionModel"):
        compact.load(base)
    shutil.rmtree(base / "unet")
    with pytest.raises(WeightsError, match=rf"{base / 'unet'} has no config\.json"):
        compact.load(base)


def test_multi_step_base_needs_a_one_step_base(place, small):
    config = replace(CONFIG, variant="multi-step")
    run = runs.open_run(place / "runs", "no-stage-1")
    dataset.write(run.faces, dataset.read(place / "faces.jsonl")[1])
    make_base(runs.open_run(place / "runs", "several"), "multi-step")
    for given, message in (
        (None, "--stage-1 RUN is needed"),
        ("several", "Pass a one-step base"),
        ("none", "is not a run"),
    ):
        first = runs.open_run(place / "runs", given) if given else None
        with pytest.raises(runs.RunError, match=message):
            train_base.prepare(run, config, images=place / "images", stage_1=first)
    with pytest.raises(runs.RunError, match="applies to --variant multi-step"):
        train_base.prepare(run, CONFIG, images=place / "images", stage_1=stage_1(place))
    assert not run.exists()


def test_missing_training_or_held_out_faces_are_reported(place, tmp_path):
    rows = dataset.read(place / "faces.jsonl")[1]
    for kept, message in (("test", "no training face"), ("train", "no test face.*degrade")):
        run = runs.open_run(tmp_path, f"only-{kept}")
        dataset.write(run.faces, [row for row in rows if row.split == kept])
        with pytest.raises(DataError, match=message):
            train_base.prepare(run, CONFIG, images=place / "images")
        assert not run.exists()


def test_all_missing_images_are_named_before_step_0(place, small, tmp_path):
    rows = write_faces(tmp_path)
    lost = sorted([rows[0].hq, rows[3].hq, rows[-3].lq])
    for path in lost:
        (tmp_path / "images" / path).unlink()
    with pytest.raises(DataError) as refused:
        prepared(tmp_path, CONFIG, "lost")
    assert "3 of the faces' 10 images are not in" in str(refused.value)
    assert all(path in str(refused.value) for path in lost)
