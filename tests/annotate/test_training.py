"""The commands train_frm and evaluate_frm: tables, ablation runs, resuming, and refusals."""

import csv
import io
import json
import subprocess
import sys

import pytest
import torch
from django.core.management import CommandError, call_command

from rewardlab import clip
from rewardlab.reward_model import model
from tests.support.preferences import TINY, write_preferences
from tests.support.tables import squeezed


@pytest.fixture
def place(tmp_path, settings):
    settings.RUN_ROOT = tmp_path / "runs"
    write_preferences(tmp_path, train=12, gold=4)
    torch.manual_seed(0)
    torch.save({"state_dict": clip.build(TINY).state_dict()}, tmp_path / "hps.pt")
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    return tmp_path


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def train(place, name: str, *options: str) -> str:
    return run(
        "train_frm", "--run", name, "--manifest", str(place / "manifest.jsonl"), "--checkpoint", str(place / "hps.pt"),
        "--architecture", str(place / "tiny.json"), "--iterations", "20", "--learning-rate", "1e-3", "--image-layers",
        "3", "--text-layers", "2", "--workers", "0", "--device", "cpu", *options,
    )  # fmt: skip


def test_evaluate_frm_fills_every_table_in_one_command(place):
    train(place, "one")
    train(place, "two", "--seed", "1")
    printed = run(
        "evaluate_frm", "one", "--images", str(place / "images"), "--device", "cpu", "--null-text",
        "--human-fraction", "0", "0.5", "1", "--baseline", "two", str(place / "runs" / "two" / "model"),
    )  # fmt: skip
    folder = place / "runs" / "one" / "evaluation"
    rows = list(csv.DictReader((folder / "table.csv").open()))
    contested = {row["name"]: row for row in rows if row["stratum"] == "contested"}
    assert set(contested) >= {
        "frm", "start", "null-text", "human-0", "human-50", "human-100", "svm", "mlp3", "mlp4", "constant-order",
        "ssim", "psnr", "lpips", "chance", "other-two", "other-model",
    }  # fmt: skip
    assert contested["human-0"]["agreement"] == contested["start"]["agreement"]
    assert contested["human-100"]["agreement"] == contested["frm"]["agreement"]
    assert contested["lpips"]["agreement"] == ""
    assert "have no LPIPS" in contested["lpips"]["note"]
    assert contested["frm"]["pairs"] == "12"
    assert float(contested["frm"]["paper"]) == 0.8778
    # Labels and the rows' "ssim" both follow contrast, so that this metric agrees everywhere.
    assert float(contested["ssim"]["agreement"]) == 1.0
    results = json.loads((folder / "results.json").read_text())
    # Every pair has three votes against one: three of six pairs of answers agree.
    assert results["people"]["two_agree"]["value"] == pytest.approx(0.5)
    assert results["gold"] | {"sha256": ""} == {
        "faces": 4, "contested": 12, "decided": 12, "anchored": 12, "simulated": False, "sha256": "",
    }  # fmt: skip
    assert "87.78% (Table 11)" in printed
    assert squeezed((folder / "table.md").read_text()).count("| FRM, image and text |") == 2
    config = json.loads((place / "runs" / "one-human-50" / "config.json").read_text())["config"]
    assert config["human_fraction"] == 0.5
    trained = (place / "runs" / "one-null-text" / "model" / model.WEIGHTS_FILE).stat().st_mtime_ns
    printed = run("evaluate_frm", "one", "--device", "cpu")  # finds the images in the folder that the run records
    assert "FRM, image and null text" in printed
    assert "FRM, 50% of the human labels" in printed
    assert "Only 4 gold faces" in printed
    assert (place / "runs" / "one-null-text" / "model" / model.WEIGHTS_FILE).stat().st_mtime_ns == trained


def test_run_locked_by_another_process_is_not_changed(place):
    hold = (
        "import sys, pathlib; from rewardlab.training.runs import Run\n"
        "with Run(pathlib.Path(sys.argv[1])).held(): print('held', flush=True); input()"
    )
    with pytest.raises(CommandError, match="cannot be divided"):
        train(place, "mine", "--faces-per-step", "2", "--accumulation", "3")
    command = [sys.executable, "-c", hold, str(place / "runs" / "mine")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(CommandError, match=f"mine is locked by process {holder.pid}"):
            train(place, "mine", "--seed", "1")  # without a checkpoint it would be created again
        assert (place / "runs" / "mine" / "config.json").exists()
        holder.communicate("\n")
    assert "mine: done" in train(place, "mine", "--seed", "1")


def test_ablation_run_with_other_configuration_is_not_compared(place):
    train(place, "one")
    train(place, "one-null-text", "--null-text", "--seed", "1")
    with pytest.raises(
        CommandError, match=r"one-null-text differs from one in more than the ablation \(seed 1 -> 0\).*Move"
    ):
        run("evaluate_frm", "one", "--device", "cpu", "--null-text")
    assert "null text" not in run("evaluate_frm", "one", "--device", "cpu")


def test_evaluate_frm_refuses_missing_and_unfinished_runs(place):
    with pytest.raises(CommandError, match=r"There is no run nowhere in .* Known: none"):
        run("evaluate_frm", "nowhere")
    with pytest.raises(CommandError, match="not a valid run name"):
        run("evaluate_frm", "../etc")
    with pytest.raises(CommandError, match="cannot be divided"):
        train(place, "odd", "--faces-per-step", "2", "--accumulation", "3")
    with pytest.raises(CommandError, match="odd is not done: run its train_frm command again"):
        run("evaluate_frm", "odd")
    assert json.loads((place / "runs" / "odd" / "status.json").read_text())["state"] == "failed"
    assert "odd: done" in train(place, "odd", "--faces-per-step", "3", "--accumulation", "3")  # no checkpoint yet


def test_run_resumes_with_other_memory_options_but_not_other_seed(place):
    options = ("--log-every", "1", "--save-every", "1", "--faces-per-step", "2")
    folder = place / "runs" / "two"
    train(place, "two", *options)
    (folder / "model").rename(folder / "gone")  # as if it had been killed before the end
    with pytest.raises(CommandError, match=r"another configuration \(seed 0 -> 1\).*--run"):
        train(place, "two", *options, "--seed", "1")
    assert "resumes from step" in train(place, "two", *options, "--accumulation", "2", "--checkpointing")
    assert json.loads((folder / "config.json").read_text())["config"]["accumulation"] == 2


def test_missing_weights_name_file_source_and_folder(place, monkeypatch):
    monkeypatch.setenv("REWARDLAB_WEIGHTS", str(place / "weights"))
    with pytest.raises(
        CommandError,
        match=r"HPS_v2_compressed.pt is missing. Get it with `manage.py weights fetch hpsv2` from .*xswu.*--checkpoint",
    ):
        run("train_frm", "--manifest", str(place / "manifest.jsonl"))
    with pytest.raises(CommandError, match="--checkpoint is only for --backbone hpsv2"):
        run("train_frm", "--backbone", "compact", "--checkpoint", str(place / "hps.pt"))
    with pytest.raises(CommandError, match=r"--checkpoint .*gone.pt does not exist. Pass the file of HPSv2"):
        run("train_frm", "--manifest", str(place / "manifest.jsonl"), "--checkpoint", str(place / "gone.pt"))
