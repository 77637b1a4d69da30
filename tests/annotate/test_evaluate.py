"""Tests of `evaluate` on a few real portraits: tables, refusals, resumption."""

import csv
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from django.core.management import CommandError, call_command
from django.db import connection
from PIL import Image, ImageFilter

import rewardlab
from annotate.common import image_store
from annotate.exchange.snapshot import freeze_faces
from annotate.models import Candidate, Face, Restorer, Score
from rewardlab import assets, clip, images
from rewardlab.files import sha256
from rewardlab.metrics import fid
from rewardlab.reward_model import model as frm
from rewardlab.reward_model.configs import TrainConfig
from rewardlab.training.runs import Run
from tests.support.preferences import TINY
from tests.support.restorers import make_base
from tests.support.servers import ROOT
from tests.support.stored_files import path_of
from tests.support.tables import squeezed

FACES = 4
METRICS = ("ssim", "psnr", "niqe", "fid")


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def evaluate(*arguments: str) -> str:
    return run("evaluate", "--restorers", *arguments)


def make_photographs(place: Path) -> None:
    """Write portraits, and results computed elsewhere: blurred photographs of the right size."""
    for number, portrait in enumerate(sorted(assets.find("demo-faces").glob("*.jpg"))[:FACES]):
        for folder in ("photographs", "results"):
            (place / folder).mkdir(exist_ok=True)
        shutil.copy(portrait, place / "photographs" / f"{number:05d}.jpg")
        blurred = Image.open(portrait).convert("RGB").resize((128, 128)).filter(ImageFilter.GaussianBlur(1))
        blurred.save(place / "results" / f"{number:05d}.png")


@pytest.fixture
def place(tmp_path, settings, db):
    """Ingest, caption, degrade and restore the portraits."""
    settings.RUN_ROOT = tmp_path / "runs"
    make_photographs(tmp_path)
    for command in (
        ("ingest", str(tmp_path / "photographs"), "--size", "128", "--split", "test"),
        ("caption",),
        ("degrade",),
        ("restore", "--restorer", "lanczos"),
        ("restore", "--from-folder", f"elsewhere={tmp_path / 'results'}"),
    ):
        run(*command)
    return tmp_path


def make_reward(root: Path, name: str, *, seed: int, null_text: bool = False, simulated: int = 0) -> Run:
    """Write what an evaluation reads from a finished run of train_frm."""
    made = Run(root / name)
    torch.manual_seed(seed)
    model = frm.FaceRewardModel(clip.build(TINY), clip.make_tokenizer(TINY), frm.Preprocess(32), TINY)
    frm.save(model, made.model)
    counts = {"train/ground_truth": 9, "train/simulated": simulated}
    made.create(kind="frm", config=TrainConfig(null_text=null_text), start={}, header={"counts": counts}, images=root)
    made.write_status("done", step=1, total=1)
    return made


def pictures(source: str) -> list[np.ndarray]:
    return [image_store.load(candidate) for candidate in Candidate.objects.filter(source=source).order_by("face")]


def test_results_match_scores_and_models(place):
    trained = make_reward(place / "runs", "frm-1", seed=0, simulated=3)
    make_reward(place / "runs", "judge-1", seed=1, null_text=True)
    printed = evaluate(
        "elsewhere", "--base", "lanczos", "--metrics", *METRICS, "musiq", "--frm", "frm-1", "--judge", "judge-1",
        "--trained-on", "psnr", "--name", "table-1",
    )  # fmt: skip
    folder = place / "runs" / "table-1"
    results = json.loads((folder / "evaluation" / "results.json").read_text())

    assert set(results) == {
        "created", "faces", "base", "simulated", "frm", "metrics", "rows", "unavailable", "pictures", "code",
    }  # fmt: skip
    hq = sorted(Candidate.objects.filter(source="hq").values_list("sha256", flat=True))
    assert results["faces"] == {
        "split": "test", "dataset": "", "has_originals": True, "count": FACES, "watched_out": 0, "with_watched": False,
        "sha256": sha256("\n".join(hq).encode()),
    }  # fmt: skip
    assert (results["base"], results["simulated"]) == ("lanczos", True)
    assert results["frm"] == {"train": "frm-1", "judge": "judge-1"}
    found = {metric["name"]: metric for metric in results["metrics"]}
    assert list(found) == [*METRICS, "frm", "judge"]
    assert found["frm"]["title"] == "FaceReward (frm-1, trained with)"
    assert found["judge"]["title"] == "FaceReward (judge-1, held out)"
    assert [name for name, metric in found.items() if metric["trained_on"]] == ["psnr", "frm"]
    assert "SIMULATED" in found["frm"]["note"]
    assert "SIMULATED" not in found["judge"]["note"]
    assert "4 faces and 1280 features" in found["fid"]["note"]
    assert results["unavailable"]["MUSIQ (KonIQ-10k)"].startswith("musiq: the file musiq_koniq_ckpt")

    rows = {row["restorer"]: row for row in results["rows"]}
    assert [(name, row["title"]) for name, row in rows.items()] == [
        ("lq", "Input"), ("lanczos", "lanczos"), ("elsewhere", "elsewhere"), ("hq", "Original"),
    ]  # fmt: skip
    assert rows["hq"]["values"]["ssim"] == {"mean": 1.0, "low": None, "high": None, "n": FACES}
    assert "fid" not in rows["hq"]["values"]
    psnr = dict(Score.objects.filter(metric="psnr").values_list("candidate__source", "value"))
    assert set(psnr) == set(rows)
    scores = {source: Score.objects.filter(metric="psnr", candidate__source=source) for source in rows}
    means = {source: np.mean([score.value for score in of]) for source, of in scores.items()}
    assert {source: row["values"]["psnr"]["mean"] for source, row in rows.items()} == pytest.approx(means)
    against = rows["elsewhere"]["against_base"]
    assert against["psnr"]["mean"] == pytest.approx(means["elsewhere"] - means["lanczos"])
    assert against["psnr"]["verdict"] == "unclear"  # with four faces
    assert set(against) == {*METRICS, "frm", "judge"}
    assert {len(rows[name]["against_base"]) for name in ("lq", "lanczos", "hq")} == {0}

    require_values_of_models(place / "runs", rows["elsewhere"]["values"])
    assert trained.model.exists()
    require_files(folder, results)
    for words in ("FaceReward", "SIMULATED", "With only 4 faces", "musiq_koniq_ckpt", str(folder / "evaluation")):
        assert words in printed


def require_values_of_models(root: Path, values: dict) -> None:
    """Compare the FID and the rewards of “elsewhere” with values computed by the models directly."""
    candidates = list(Candidate.objects.filter(source="elsewhere").order_by("face").select_related("face"))
    pixels = {source: images.to_tensor(pictures(source)) for source in ("elsewhere", "hq")}
    extract = fid.open_features("efficientnet-lite0")
    distance = fid.frechet_distance(*(extract(of).numpy() for of in pixels.values()))
    assert values["fid"]["mean"] == pytest.approx(distance, rel=1e-4)
    captions = {"frm-1": [candidate.face.caption for candidate in candidates], "judge-1": ""}
    for metric, name in (("frm", "frm-1"), ("judge", "judge-1")):
        model = rewardlab.load(root / name / "model")
        reward = model.score(pixels["elsewhere"], captions[name]).mean().item()
        assert values[metric]["mean"] == pytest.approx(reward, abs=1e-6)


def require_files(folder: Path, results: dict) -> None:
    """Check the pictures, tables, description and status that the evaluation wrote."""
    assert results["pictures"] == {
        "faces": ["00", "01", "02", "03"], "columns": ["lq", "lanczos", "elsewhere", "hq"],
    }  # fmt: skip
    picture = folder / "evaluation" / "pictures" / "elsewhere" / "02.png"
    third = Candidate.objects.filter(source="elsewhere").order_by("face")[2]
    assert picture.read_bytes() == image_store.read(third.sha256)
    assert len(list(csv.DictReader((folder / "evaluation" / "table.csv").open()))) == 4 * 6
    assert r"\toprule" in (folder / "evaluation" / "table.tex").read_text()
    assert "| Input |" in squeezed((folder / "evaluation" / "table.md").read_text())
    described = json.loads((folder / "config.json").read_text())
    assert (described["kind"], described["name"], described["start"], described["manifest"]) == (
        "evaluation", "table-1", {}, {},
    )  # fmt: skip
    assert described["config"]["restorers"] == ["elsewhere"]
    assert json.loads((folder / "status.json").read_text())["state"] == "done"


def test_faces_used_to_monitor_training_are_left_out(place):
    monitored = Run(place / "runs" / "monitored")
    make_base(monitored, "one-step", held_out=FACES - 1)
    freeze_faces(monitored.faces)
    run("restore", "--restorer", "monitored", "--faces", "test")
    last = Face.objects.order_by("pk").last()

    printed = evaluate("elsewhere", "monitored", "--metrics", "psnr", "--name", "without")
    results = json.loads((place / "runs" / "without" / "evaluation" / "results.json").read_text())
    assert (results["faces"]["count"], results["faces"]["watched_out"]) == (1, FACES - 1)
    found = Score.objects.get(metric="psnr", candidate__face=last, candidate__source="monitored").value
    row = next(row for row in results["rows"] if row["restorer"] == "monitored")
    assert row["values"]["psnr"]["mean"] == pytest.approx(found)
    assert f"Excludes the {FACES - 1} used to monitor training" in printed

    printed = evaluate("elsewhere", "monitored", "--metrics", "psnr", "--with-monitored")
    assert f"Means over {FACES} faces" in printed
    assert "Includes faces used to monitor training" in printed

    shutil.rmtree(monitored.folder)
    make_base(monitored, "one-step", held_out=FACES)
    freeze_faces(monitored.faces)
    with pytest.raises(CommandError, match=r"All 4 faces of split test were used to monitor .*--with-monitored"):
        evaluate("monitored", "--metrics", "psnr", "--name", "nothing-left")
    assert f"{FACES} faces" in evaluate("elsewhere", "--metrics", "psnr", "--name", "of-others")


def test_repeated_command_reuses_values_and_refuses_other_options(place):
    first = evaluate("lanczos", "--metrics", "ssim", "--name", "one")
    assert "evaluate: done 12, skipped 0" in first
    before = list(Score.objects.order_by("pk").values())
    second = evaluate("lanczos", "--metrics", "ssim", "--name", "one")
    assert "evaluate: done 0, already there 12, skipped 0" in second
    assert "done 12, already there 12," in evaluate("lanczos", "--metrics", "ssim", "psnr", "--name", "two")
    assert list(Score.objects.filter(metric="ssim").order_by("pk").values()) == before
    with pytest.raises(CommandError, match=r"one exists with other options \(limit None -> 2\): choose another --name"):
        evaluate("lanczos", "--metrics", "ssim", "--name", "one", "--limit", "2")
    evaluate("lanczos", "--metrics", "ssim", "--limit", "2")
    evaluate("lanczos", "--metrics", "ssim", "--limit", "2", "--device", "cpu")
    unnamed = list((place / "runs").glob("evaluation-*"))
    assert len(unnamed) == 1
    results = json.loads((unnamed[0] / "evaluation" / "results.json").read_text())
    assert (results["faces"]["count"], results["base"], results["frm"]) == (2, None, {"train": None, "judge": None})
    make_reward(place / "runs", "frm-1", seed=0)
    with pytest.raises(CommandError, match="run of kind frm: choose another --name"):
        evaluate("lanczos", "--name", "frm-1")


def test_restorer_name_with_path_is_written_to_safe_folder(place):
    Restorer.objects.filter(name="elsewhere").update(name="../up")
    Candidate.objects.filter(source="elsewhere").update(source="../up")
    evaluate("../up", "--metrics", "ssim", "--name", "one")
    folder = place / "runs" / "one" / "evaluation" / "pictures"
    results = json.loads((folder.parent / "results.json").read_text())
    assert results["pictures"]["columns"] == ["lq", "up", "hq"]
    assert sorted(path.name for path in folder.iterdir()) == ["hq", "lq", "up"]
    assert results["rows"][1]["restorer"] == "../up"


def test_missing_candidates_are_refused_with_remedy(place):
    first = Face.objects.order_by("pk").first()
    first.candidates.filter(source="lanczos").delete()
    with pytest.raises(CommandError) as refused:
        evaluate("lanczos", "elsewhere", "--metrics", "ssim", "--name", "one")
    assert "lanczos is missing for 1 of 4 faces: run manage.py restore --restorer lanczos" in str(refused.value)
    assert "elsewhere is missing" not in str(refused.value)
    assert "--skip-missing" in str(refused.value)
    assert not (place / "runs" / "one").exists()
    assert "3 of the 4 faces" in evaluate("lanczos", "--metrics", "ssim", "--name", "one", "--skip-missing")
    assert not Score.objects.filter(candidate__face=first).exists()
    Candidate.objects.filter(source="elsewhere").delete()
    with pytest.raises(
        CommandError, match=r"is missing for 4 of 4 faces: run manage.py restore --from-folder elsewhere=PATH"
    ):
        evaluate("elsewhere")
    with pytest.raises(CommandError, match="No face of split test has candidates from all of lq, elsewhere, hq"):
        evaluate("elsewhere", "--skip-missing")


def test_invalid_options_are_refused_with_reason(place):
    make_reward(place / "runs", "frm-1", seed=0)
    half = make_reward(place / "runs", "half", seed=0)
    half.write_status("failed", step=0, total=1)
    for arguments, words in {
        ("codeformer",): r"Unknown restorer: codeformer. Known: elsewhere, lanczos.*restore --restorer code",
        ("lanczos", "--base", "nobody"): "Unknown restorer: nobody",
        ("lanczos", "--base", "hq"): "--base must be a restorer or lq",
        ("lq",): "Name at least one restorer",
        ("lanczos", "--faces", "gold"): "Split gold has no faces: choose another split with --faces",
        ("lanczos", "--metrics", "musiq"): r"None of these metrics can run here. musiq: the file musiq_koniq_ckpt",
        ("lanczos", "--metrics", "beauty"): "Unknown metric: beauty. Known: ssim, .*, fid",
        ("lanczos", "--trained-on", "beauty"): "Unknown metric: beauty",
        ("lanczos", "--frm", "nowhere"): r"There is no run nowhere in .* Known: frm-1, half",
        ("lanczos", "--judge", "half"): "half is not (done|finished)",
        ("lanczos", "--frm", "frm-1", "--judge", "frm-1"): "--frm and --judge are both frm-1",
        ("lanczos", "--name", "../up"): "not a valid run name",
    }.items():
        with pytest.raises(CommandError, match=words):
            evaluate(*arguments)
    copied = shutil.copytree(place / "runs" / "frm-1", place / "runs" / "copied")
    (copied / "model" / frm.WEIGHTS_FILE).unlink()
    with pytest.raises(CommandError, match=f"model has no weights: the file {frm.WEIGHTS_FILE} is missing"):
        evaluate("lanczos", "--frm", "copied")
    Face.objects.update(caption="")
    with pytest.raises(CommandError, match=r"4 of 4 faces have no caption: run manage.py caption"):
        evaluate("lanczos", "--frm", "frm-1")


def test_flat_image_is_left_out_and_broken_image_is_refused(place):
    flat = Candidate.objects.filter(source="elsewhere").order_by("pk").first()
    Candidate.objects.filter(pk=flat.pk).update(sha256=image_store.store_png(np.full((128, 128, 3), 90, np.uint8)))
    printed = evaluate("elsewhere", "--metrics", "ssim", "niqe", "--name", "one")
    assert "undefined (1)" in printed
    results = json.loads((place / "runs" / "one" / "evaluation" / "results.json").read_text())
    notes = {metric["name"]: metric["note"] for metric in results["metrics"]}
    assert notes == {"ssim": "", "niqe": "1 of 4 faces left out: a row has no value for them"}
    assert {row["values"]["niqe"]["n"] for row in results["rows"]} == {3}
    broken = Candidate.objects.filter(source="lanczos").order_by("pk").last()
    path_of(broken).write_bytes(b"")
    with pytest.raises(CommandError, match="1 images are broken"):
        evaluate("lanczos", "--metrics", "ssim", "--name", "two")
    assert json.loads((place / "runs" / "two" / "status.json").read_text())["state"] == "failed"
    assert not (place / "runs" / "two" / "evaluation").exists()


def test_killed_evaluation_resumes_with_same_results(place):
    make_reward(place / "runs", "frm-1", seed=0)
    copy = place / "db.sqlite3"
    with sqlite3.connect(copy) as database:
        database.executescript("".join(connection.connection.iterdump()))  # a copy for other processes
    environment = os.environ | {
        "DATA_ROOT": str(place), "DATABASE_URL": f"sqlite:///{copy}", "DJANGO_SETTINGS_MODULE": "annotate.settings",
    }  # fmt: skip

    def start(*commands: tuple[str, ...]) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-c", program(*commands)], cwd=ROOT, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    call = (
        "evaluate", "--restorers", "lanczos", "elsewhere", "--base", "lanczos", "--metrics", *METRICS, "--frm", "frm-1",
    )  # fmt: skip
    killed = start((*call, "--name", "killed"))
    with sqlite3.connect(copy) as database:
        for _ in range(600):
            if database.execute("SELECT count(*) FROM annotate_score").fetchone()[0]:
                break
            time.sleep(0.05)
    killed.kill()
    killed.communicate(timeout=60)
    features = place / "runs" / "killed" / "cache" / "fid-efficientnet-lite0.jsonl"
    features.parent.mkdir(parents=True, exist_ok=True)
    with features.open("a") as file:
        file.write('{"key": "ab')  # a partial line, as left by a kill
    complete = (*call, "--name", "complete", "--workers", "2")
    printed, _ = start((*call, "--name", "killed"), complete).communicate(timeout=300)
    counted = re.findall(r"evaluate: done (\d+), already there (\d+), skipped 0", printed)
    (done, already), (done_complete, already_complete) = [(int(first), int(second)) for first, second in counted]
    assert already > 0
    assert done + already == 5 * 4 * FACES
    assert (done_complete, already_complete) == (
        2 * 4 * FACES,
        3 * 4 * FACES,
    )  # scores are shared; rewards and features are not
    tables = [
        json.loads((place / "runs" / name / "evaluation" / "results.json").read_text())
        for name in ("killed", "complete")
    ]
    assert tables[0]["rows"] == tables[1]["rows"]


def program(*commands: tuple[str, ...]) -> str:
    """Return the code of a process that calls these commands in order."""
    calls = "; ".join(f"call_command(*{command!r})" for command in commands)
    return f"import django; django.setup(); from django.core.management import call_command; {calls}"


def test_statistics_deg_rule_and_further_rewards_have_own_columns(place):
    folder = make_reward(place / "runs", "frm-1", seed=0).model
    stats = place / "photographs.npz"
    run("fid_stats", str(place / "photographs"), str(stats), "--features", "efficientnet-lite0", "--size", "128")
    faces = Face.objects.order_by("pk")
    degrees = {"lq": [40.0, 50.0, 60.0, 70.0], "lanczos": [0.5, 20.0, 30.0, 40.0], "elsewhere": [10.0, 20.0, 0.0, 0.9]}
    for source, values in (degrees | {"hq": [0.0] * FACES}).items():
        for face, value in zip(faces, values, strict=True):
            Score.objects.create(candidate=face.candidates.get(source=source), metric="arcface", value=value)
    weights = place / "weights"
    weights.mkdir()
    (weights / assets.ASSETS["arcface-resnet18"].file).touch()  # the values are stored: it is not opened
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REWARDLAB_WEIGHTS", str(weights))
        evaluate(
            "elsewhere", "--base", "lanczos", "--metrics", "arcface", "arcface_over1", "psnr_corrected", "fid",
            "--fid-stats", str(stats), "--frm", "frm-1", "--rewards", str(folder), "--name", "field",
        )  # fmt: skip
    results = json.loads((place / "runs" / "field" / "evaluation" / "results.json").read_text())
    columns = {metric["name"]: metric for metric in results["metrics"]}
    assert list(columns) == ["arcface", "arcface_over1", "psnr_corrected", "fid", "frm", "reward-model"]
    assert columns["reward-model"]["title"] == "FaceReward (model)"
    assert "against the statistics photographs.npz, 4 images" in columns["fid"]["note"]
    rows = {row["restorer"]: row["values"] for row in results["rows"]}
    means = {source: (values["arcface_over1"]["mean"], values["arcface_over1"]["n"])
             for source, values in rows.items() if source != "hq"}  # fmt: skip
    assert means == {"lq": (55.0, 4), "lanczos": (30.0, 3), "elsewhere": (15.0, 2)}
    assert "arcface_over1" not in rows["hq"] and rows["lanczos"]["arcface"]["mean"] == pytest.approx(22.625)
    assert rows["hq"]["fid"]["n"] == FACES  # the originals are compared with the statistics too
    assert rows["lanczos"]["frm"]["mean"] == rows["lanczos"]["reward-model"]["mean"]
    for options, message in (
        (("--fid-stats", "gone.npz"), r"gone\.npz does not exist"),
        (("--metrics", "psnr", "--fid-stats", str(stats)), "needs the metric fid"),
        (("--rewards", "nothing"), "--rewards nothing is not a reward model"),
        (("--rewards", "hpsv2"), "weights fetch hpsv2"),
        (("--rewards", "frm-1", str(folder.parent)), "have the same name"),
    ):
        with pytest.raises(CommandError, match=message):
            evaluate("elsewhere", *options)
    Face.objects.update(caption="")
    with pytest.raises(CommandError, match="have no caption, which clipscore_text compares with"):
        evaluate("elsewhere", "--metrics", "clipscore_text")
