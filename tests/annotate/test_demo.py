"""Demo on a few portraits, as prepared by `make run`: annotators, snapshot, training."""

import io
import re

import pytest
from django.contrib.auth import authenticate
from django.core.management import CommandError, call_command

from annotate.demo import portraits
from annotate.models import Campaign, Face, Item, Judgement, Preference, Snapshot, StageRun, User
from refl import dataset
from rewardlab import manifest

pytestmark = pytest.mark.django_db
FACES = 4


def run(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def test_demo_from_commands_to_snapshot_and_model(tmp_path, monkeypatch, settings, client):
    settings.RUN_ROOT = tmp_path / "runs"
    monkeypatch.delenv("DEMO_PASSWORD", raising=False)
    printed = run("demo", "--faces", str(FACES), "--annotators", "2")
    passwords = dict(re.findall(r"^ +(admin|annotator\d) +(\S+)$", printed, re.M))
    assert set(passwords) == {"admin", "annotator1", "annotator2"}
    assert len(set(passwords.values())) == 3
    assert authenticate(username="annotator1", password=passwords["annotator1"])

    while portraits.prepare_next_part():
        pass
    stage = StageRun.objects.get(stage="demo")
    assert (stage.state, stage.done) == ("done", FACES)
    campaign = Campaign.objects.get(slug="demo")
    assert campaign.item_count == Item.objects.count() > 0
    assert campaign.item_count % 3 == 0
    assert campaign.examples.count() == 2  # no metric knows what loses by its text
    assert campaign.members.count() == 3

    again = run("demo", "--faces", str(FACES), "--annotators", "2")
    assert again.count("(password unchanged)") == 3
    assert authenticate(username="annotator1", password=passwords["annotator1"])
    renewed = run("demo", "--faces", str(FACES), "--annotators", "2", "--new-passwords")
    assert passwords["admin"] not in renewed

    first = run("simulate_annotators", "--limit", "5")
    assert "done 5" in first and "5 answers of simulated annotators are left out." in first
    assert not Preference.objects.filter(judgements__gt=0).exists()
    rest = run("simulate_annotators", "--as-labels")
    simulated = Campaign.objects.get(slug="simulated")
    assert Judgement.objects.count() == simulated.item_count * simulated.overlap, rest
    assert "done 0" in run("simulate_annotators")
    assert set(User.objects.filter(username__startswith="simulated").values_list("simulated", flat=True)) == {True}
    assert not User.objects.exclude(username__startswith="simulated").filter(simulated=True).exists()
    assert set(Preference.objects.filter(judgements__gt=0).values_list("origin", flat=True)) == {"simulated"}

    run("snapshot", str(tmp_path / "out"), "--with-images")
    run("snapshot", str(tmp_path / "again"))
    assert Snapshot.objects.count() == 1  # unchanged data
    assert_complete_snapshot(tmp_path / "out", overlap=simulated.overlap)
    with pytest.raises(CommandError, match="is another snapshot"):
        run("snapshot", str(tmp_path / "out"), "--origin", "simulated")
    with pytest.raises(CommandError, match="No preference has"):
        run("snapshot", str(tmp_path / "none"), "--origin", "human")
    only = run("snapshot", str(tmp_path / "gold"), "--split", "train", "--origin", "ground_truth")
    assert "simulated" not in only

    train_frm = ("train_frm", "--run", "first", "--backbone", "compact", "--device", "cpu", "--iterations", "2")
    train_frm += ("--faces-per-step", "2", "--log-every", "1", "--save-every", "1")
    assert "evaluate_frm first" in run(*train_frm)
    folder = settings.RUN_ROOT / "first"
    header, frozen = manifest.read(folder / "manifest.jsonl")
    assert {row.split for row in frozen} <= {"train", "gold"}
    assert Snapshot.objects.filter(sha256=header["sha256"]).exists()
    with pytest.raises(CommandError, match="first is done"):
        run(*train_frm)
    with pytest.raises(CommandError, match=r"another configuration \(seed 0 -> 1\).*--run"):
        run(*train_frm, "--seed", "1")
    client.force_login(User.objects.get(username="admin"))
    assert header["sha256"][:12] in client.get("/runs/first/").content.decode()


def assert_complete_snapshot(folder, *, overlap):
    header, rows = manifest.read(folder / "manifest.jsonl")
    assert header["rows"] == len(rows) == Preference.objects.count()
    for row in rows:
        assert (folder / "images" / row.first).is_file()
        assert (row.first_source == "hq", row.second_source == "hq") == (
            (row.p_first == 1.0, row.p_first == 0.0) if row.origin == "ground_truth" else (False, False)
        )
        first, second, neither = row.votes
        assert sum(row.votes) == (overlap if row.origin == "simulated" else 0)
        if row.origin == "simulated":
            assert row.p_first == (first + 0.5 * neither) / (first + second + neither)
        assert {"ssim", "psnr", "lpips", "niqe"} <= set(row.scores)
        assert (row.scores["ssim"][0] == 1.0) == (row.first_source == "hq")
    listed = dataset.read(folder / "faces.jsonl")[1]
    assert len(listed) == Face.objects.count()
    assert all((folder / "images" / image).is_file() for face in listed for image in (face.hq, face.lq))


def test_simulate_annotators_without_pairs_fails():
    with pytest.raises(CommandError, match="run restore and build_pairs first"):
        run("simulate_annotators")


def test_demo_refused_in_production(settings):
    settings.PRODUCTION = True
    with pytest.raises(CommandError, match="does not run in production"):
        run("demo")
