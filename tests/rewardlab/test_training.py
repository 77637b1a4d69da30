"""Training: shared encodings equal pairwise ones, killed runs resume exactly, two nodes equal one process."""

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

import pytest
import torch
from safetensors.torch import load_file, save_file

import rewardlab
from rewardlab import clip, manifest
from rewardlab.errors import ModelError
from rewardlab.reward_model import backbones, batches, losses, prepare, train
from rewardlab.reward_model import model as frm
from rewardlab.reward_model.configs import PRESETS, TrainConfig
from rewardlab.reward_model.prepare import training_rows
from rewardlab.reward_model.train import PairTask
from rewardlab.snapshot_images import DataError
from rewardlab.training import checkpoint, loop, runs, schedule
from rewardlab.training.loop import TrainError
from rewardlab.training.run_schema import FrmPoint, GoldPoint
from tests.support.preferences import TINY, write_preferences
from tests.support.servers import free_port
from tests.support.stopping import stop_after


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a manifest, its images, and a tiny checkpoint in HPSv2's layout."""
    folder = tmp_path_factory.mktemp("training")
    write_preferences(folder, train=10)
    torch.manual_seed(0)
    torch.save({"state_dict": clip.build(TINY).state_dict()}, folder / "hps.pt")
    (folder / "tiny.json").write_text(json.dumps(TINY))
    return folder


@pytest.fixture
def config(place):
    return TrainConfig(
        architecture=str(place / "tiny.json"),
        iterations=6,
        learning_rate=1e-3,
        image_layers=3,
        text_layers=2,
        faces_per_step=2,
        log_every=1,
        evaluate_every=3,
        save_every=2,
        workers=0,
    )


def prepared(place, config, name: str) -> runs.Run:
    run = runs.open_run(place / "runs", name)
    shutil.rmtree(run.folder, ignore_errors=True)
    prepare.prepare_run(
        run, config, place / "manifest.jsonl", images=place / "images", checkpoint_file=place / "hps.pt"
    )
    return run


def losses_of(run) -> list[float]:
    return [point.loss for point in run.points_of(FrmPoint)]


# Batches by face


def gradients(model, groups, folder):
    """Return loss, gradients and batch of one step over these groups."""
    tokens = model.tokenize([group.caption for group in groups])
    dataset = batches.FaceDataset(groups, folder, model.preprocess, tokens)
    batch = batches.collate(dataset.__getitems__([schedule.Item(index) for index in range(len(groups))]))
    each = losses.preference_losses(PairTask(model)(batch), batch.p_first)
    loss = (each * batch.weight).sum() / batch.weight.sum()
    model.zero_grad()
    loss.backward()
    found = {name: tensor.grad.clone() for name, tensor in model.named_parameters() if tensor.grad is not None}
    return loss.item(), found, batch


@pytest.mark.parametrize("backbone", ["hpsv2", "compact"])
def test_shared_encodings_give_pairwise_loss_and_gradients(place, backbone):
    rows = manifest.read(place / "manifest.jsonl")[1][:12]  # two faces
    if backbone == "hpsv2":
        model = backbones.open_hpsv2(place / "hps.pt", str(place / "tiny.json"))
    else:
        model = backbones.open_compact(seed=0)
    backbones.lock(model, image_layers=3, text_layers=2)
    groups = batches.group_by_face(rows)
    shared_loss, shared, batch = gradients(model, groups, place / "images")
    pairwise_loss, pairwise, spread = gradients(model, batches.pairwise(groups), place / "images")
    assert (len(batch.images), len(batch.tokens)) == (8, 2)
    assert len(spread.images) == 24
    assert shared_loss == pytest.approx(pairwise_loss, abs=1e-5)
    assert shared.keys() == pairwise.keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    for name, gradient in shared.items():
        assert torch.allclose(gradient, pairwise[name], atol=1e-5), name


def test_frozen_layers_do_not_track_gradients(place):
    model = backbones.open_hpsv2(place / "hps.pt", str(place / "tiny.json"))
    backbones.lock(model, image_layers=2, text_layers=1)
    kept = {}
    for tower, blocks in (("image", model.clip.visual.transformer), ("text", model.clip.transformer)):
        for number, block in enumerate(blocks.resblocks):
            block.register_forward_hook(
                lambda module, given, made, place=(tower, number): kept.update({place: made.requires_grad})
            )
    model.score(torch.rand(1, 3, 32, 32), "A face.")
    assert kept == {(tower, number): number == 2 for tower in ("image", "text") for number in range(3)}


def test_loss_equals_cross_entropy_of_both_scores():
    scores = torch.tensor([[1.2, 0.3], [-0.4, 2.0]])
    labels = torch.tensor([1.0, 0.75])
    expected = torch.nn.functional.cross_entropy(scores, torch.stack([labels, 1 - labels], 1), reduction="none")
    assert torch.allclose(losses.preference_losses(scores[:, 0] - scores[:, 1], labels), expected)
    assert losses.agreements(torch.tensor([2.0, -1.0, 0.0]), torch.tensor([0.9, 0.8, 1.0])).tolist() == [1, 0, 0.5]


def test_schedule_does_not_depend_on_starting_step():
    def steps(start, count):
        plan = schedule.plan(7, faces_per_step=3, seed=5, mirror=True, start=start)
        return [next(plan) for _ in range(count)]

    whole = steps(0, 14)
    assert steps(9, 5) == whole[9:]
    seen = [item.group for items in whole for item in items]
    assert all(sorted(seen[start : start + 7]) == list(range(7)) for start in range(0, 42, 7))
    assert 0 < sum(item.mirrored for items in whole for item in items) < 42


# Complete runs


def test_run_learns_and_changes_only_trainable_weights(place, config):
    run = prepared(place, replace(config, iterations=40, evaluate_every=40, save_every=40, log_every=10), "learns")
    train.train(run, images=place / "images", device="cpu")
    assert run.is_done()
    trace = losses_of(run)
    assert trace[-1] < 0.8 * trace[0]
    before = backbones.open_hpsv2(place / "hps.pt", str(place / "tiny.json"))
    backbones.lock(before, image_layers=3, text_layers=2)
    after = rewardlab.load(run.model).clip.state_dict()
    for name, parameter in before.clip.named_parameters():
        assert torch.equal(parameter, after[name]) != parameter.requires_grad, name
    assert [point.gold["anchored"].pairs for point in run.points_of(GoldPoint)] == [6, 6]
    assert (run.folder / "tensorboard").is_dir()
    accuracy = run.points_of(FrmPoint)[0].accuracy
    assert accuracy["svm"] is None
    assert 0 <= accuracy["human"] <= 1


@pytest.mark.parametrize(
    "option", [{"accumulation": 2}, {"checkpointing": True}], ids=["accumulation", "checkpointing"]
)
def test_memory_options_do_not_change_losses(place, config, option):
    traces = []
    for name, wanted in (("plain", config), ("saving", replace(config, **option))):
        run = prepared(place, wanted, name)
        train.train(run, images=place / "images", device="cpu")
        traces.append(losses_of(run))
    assert traces[0] == pytest.approx(traces[1], abs=1e-5)


def command(place, name: str, *options: str) -> list[str]:
    return [
        "manage.py", "train_frm", "--run", name, "--manifest", str(place / "manifest.jsonl"), "--checkpoint",
        str(place / "hps.pt"), "--architecture", str(place / "tiny.json"), "--iterations", "30", "--learning-rate",
        "1e-3", "--image-layers", "3", "--text-layers", "2", "--faces-per-step", "2", "--log-every", "1",
        "--evaluate-every", "100", "--save-every", "2", "--device", "cpu", *options,
    ]  # fmt: skip


def environment(place) -> dict[str, str]:
    # The database is unreachable, as on a training machine.
    return {
        **os.environ, "RUN_ROOT": str(place / "runs"), "DATA_ROOT": str(place),
        "DATABASE_URL": "postgres://nobody@127.0.0.1:9/nothing", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


@pytest.fixture(scope="module")
def uninterrupted(place):
    subprocess.run([sys.executable, *command(place, "whole")], env=environment(place), check=True)
    return losses_of(runs.open_run(place / "runs", "whole"))


def test_killed_run_resumes_bit_for_bit_without_database(place, uninterrupted):
    run = runs.open_run(place / "runs", "killed")
    start = [sys.executable, *command(place, "killed")]
    process = subprocess.Popen(start, env=environment(place))
    while len(losses_of(run)) < 3 or not run.states():
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.005)
    with pytest.raises(runs.RunError, match=f"killed is locked by process {process.pid}"):
        run.held().__enter__()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 0 < len(losses_of(run)) < 30
    assert not run.is_done()
    subprocess.run(start, env=environment(place), check=True)
    assert losses_of(run) == uninterrupted
    whole, killed = (load_file(place / "runs" / name / "model" / frm.WEIGHTS_FILE) for name in ("whole", "killed"))
    assert all(torch.equal(tensor, killed[name]) for name, tensor in whole.items())


def test_stopped_run_resumes_at_the_step_of_the_stop(place, config):
    config = replace(config, save_every=99, log_every=3)
    whole, stopped = (prepared(place, config, name) for name in ("straight", "stopped"))
    train.train(whole, images=place / "images", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train.train(stopped, images=place / "images", device="cpu", on_progress=stop_after(4))
    assert checkpoint.saved_step(stopped.checkpoint) == 4
    assert stopped.status().error == "Interrupted. Run the same command to resume from step 4."
    assert [point.step for point in stopped.points_of(FrmPoint)] == [3, 4]
    train.train(stopped, images=place / "images", device="cpu")
    assert [point.step for point in stopped.points_of(FrmPoint)] == [3, 4, 6]
    ours, theirs = (load_file(run.model / frm.WEIGHTS_FILE) for run in (stopped, whole))
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def test_two_nodes_have_the_losses_of_one_process(place, uninterrupted):
    words = ["--run-name" if word == "--run" else word for word in command(place, "two")]  # see run_options.py
    launch = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    launch += ["--master-addr", "127.0.0.1", "--master-port", str(free_port())]
    ours = environment(place) | {"ACCELERATE_USE_CPU": "true"}
    nodes = [subprocess.Popen([*launch, "--node-rank", str(rank), *words], env=ours) for rank in range(2)]
    assert [node.wait() for node in nodes] == [0, 0]
    assert losses_of(runs.open_run(place / "runs", "two")) == pytest.approx(uninterrupted, abs=1e-5)


# Errors


def changed(place, tmp_path, change) -> list:
    """Write the manifest with `change` applied to its rows; rows that become None are left out."""
    _, rows = manifest.read(place / "manifest.jsonl")
    manifest.write(tmp_path / "manifest.jsonl", filter(None, map(change, rows)), filters={})
    return tmp_path / "manifest.jsonl"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row if row.origin == "ground_truth" else None, "no human labels yet.*Judge pairs"),
        (lambda row: replace(row, p_first=1.0), "All 30 judged pairs prefer the first image"),
        (lambda row: replace(row, weight=0.0), "No training pair has a weight above 0"),
        (lambda row: replace(row, caption=""), "10 training faces have no caption.*manage.py caption.*--null-text"),
        (lambda row: replace(row, split="train") if row.face == 11 and row.pair % 2 else row, "Face 11 .*gold set"),
        (lambda row: replace(row, identity="person10") if row.face == 2 else row, "Face 2 .identity person10.*gold"),
        (
            lambda row: replace(row, first="aa/gone.png") if row.pair == 0 else row,
            "1 of the manifest's .* aa/gone.png.*--images",
        ),
    ],
    ids=["no-label", "one-way", "weightless", "captions", "gold-face", "gold-person", "moved"],
)
def test_unusable_training_data_is_refused(place, tmp_path, config, change, message):
    run = runs.open_run(tmp_path, "refused")
    source = changed(place, tmp_path, change)
    with pytest.raises(DataError, match=message):
        prepare.prepare_run(run, config, source, images=place / "images", checkpoint_file=place / "hps.pt")
    assert not run.exists()


def test_image_changed_after_snapshot_stops_the_run(place, tmp_path, config):
    folder = tmp_path / "images"
    shutil.copytree(place / "images", folder)
    run = prepared(place, replace(config, workers=1), "changed")
    victim = next(iter(batches.group_by_face(manifest.read(run.manifest)[1]))).images[0]
    (folder / victim).write_bytes(b"other")
    with pytest.raises(TrainError, match=f"^.*{victim} was changed after the snapshot.*last saved state is of step"):
        train.train(run, images=folder, device="cpu")
    assert run.status().state == "failed"
    assert "Traceback" not in run.status().error
    train.train(run, images=place / "images", device="cpu")
    assert run.is_done()


def test_nan_loss_stops_the_run(place, config):
    run = prepared(place, replace(config, iterations=4), "nan")
    train.train(run, images=place / "images", device="cpu")
    tensors = load_file(run.checkpoint)
    run = prepared(place, config, "nan")
    tensors["weight/clip.logit_scale"] = torch.tensor(math.nan)
    save_file(tensors, run.checkpoint, {"step": "4"})
    with pytest.raises(
        TrainError, match=r"step 5 is not finite \(nan\).*--learning-rate.*last saved state is of step 4"
    ):
        train.train(run, images=place / "images", device="cpu")


def test_full_disk_stops_the_run_and_keeps_checkpoint(place, config):
    """Simulate the full disk by a file-size limit that the checkpoint exceeds."""
    run = prepared(place, config, "full")
    script = (
        "import resource, signal, sys; from pathlib import Path;"
        "from rewardlab.reward_model import train; from rewardlab.training import runs;"
        "import torch.utils.tensorboard;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "train.train(runs.Run(Path(sys.argv[1])), images=Path(sys.argv[2]), device='cpu')"
    )
    train.train(prepared(place, replace(config, iterations=2), "full2"), images=place / "images", device="cpu")
    good_state = shutil.copy(place / "runs" / "full2" / "states" / "000002.safetensors", run.only_state)
    good = good_state.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", script, str(run.folder), str(place / "images")],
        capture_output=True, text=True, env=environment(place) | {"PYTHONPATH": str(Path.cwd())},
    )  # fmt: skip
    assert done.returncode != 0
    assert "TrainError" in done.stderr
    assert "last saved state is of step 2" in done.stderr.splitlines()[-1]
    assert run.checkpoint.read_bytes() == good
    assert [path.name for path in run.folder.iterdir() if path.name.endswith(".tmp")] == []
    train.train(run, images=place / "images", device="cpu")
    assert run.is_done()


def test_out_of_memory_is_distinguished_from_other_errors():
    with pytest.raises(RuntimeError) as full:
        torch.empty(1 << 50)
    with pytest.raises(RuntimeError) as other:
        torch.zeros(2) @ torch.zeros(3)
    assert loop.is_out_of_memory(full.value)
    assert not loop.is_out_of_memory(other.value)


def test_checkpoint_of_other_backbone_is_refused(place, config):
    run = prepared(place, config, "other")
    model = backbones.open_compact(seed=0)
    backbones.lock(model, image_layers=1, text_layers=1)
    checkpoint.save(run.checkpoint, {"": (model, torch.optim.Adam(model.parameters()))}, step=1)
    with pytest.raises(checkpoint.CheckpointError, match="another model"):
        train.train(run, images=place / "images", device="cpu")
    with pytest.raises(ModelError, match="another backbone"):
        backbones.open_hpsv2(run.checkpoint, str(place / "tiny.json"))


def test_indivisible_faces_and_invalid_options_are_refused(place, config):
    with pytest.raises(TrainError, match=r"2 faces per step cannot be divided.*multiple of 3"):
        train.train(prepared(place, replace(config, accumulation=3), "odd"), images=place / "images", device="cpu")
    for wrong, message in (
        ({"save_every": 25}, "save_every must be a multiple of log_every"),
        ({"weight_svm": -1.0}, "weights must be finite"),
        ({"weight_svm": math.nan}, "weights must be finite"),
        ({"seed": -1}, "must not be negative"),
    ):
        with pytest.raises(ValueError, match=message):
            TrainConfig(**wrong)


def test_hpsv2_preset_has_the_papers_values():
    """See App. A.2 and Sec. 3.1."""
    config = PRESETS["hpsv2"]
    assert (config.architecture, config.iterations, config.learning_rate) == ("ViT-H-14", 20_000, 3.3e-6)
    assert (config.image_layers, config.text_layers) == (20, 11)
    assert config.labels == "hard"


def test_hard_labels_are_winners_without_ties(place, config):
    _, rows = manifest.read(place / "manifest.jsonl")
    training = [row for row in rows if row.split == "train"]
    soft = [replace(row, p_first={0: 0.94, 1: 0.02, 2: 0.5}.get(row.pair, row.p_first)) for row in training]
    assert [row.p_first for row in training_rows(soft, config)[:2]] == [0.94, 0.02]
    hard = training_rows(soft, replace(config, labels="hard"))
    assert len(hard) == len(training) - 1
    assert {row.p_first for row in hard} == {0.0, 1.0}
    assert [row.p_first for row in hard[:2]] == [1.0, 0.0]
