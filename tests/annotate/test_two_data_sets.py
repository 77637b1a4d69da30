"""The reward model learns from one data set, restorers from another, on a machine without the database."""

import io
import json
import uuid
from pathlib import Path

import pytest
import torch
from django.core.management import CommandError, call_command

from annotate.campaigns import items, lifecycle
from annotate.desk import judging, leasing
from annotate.models import Campaign, Face, Pair
from refl import dataset
from refl.policies import compact
from rewardlab import clip, manifest
from rewardlab.training import runs
from tests.annotate.test_given_pictures import noise
from tests.support.factories import make_user
from tests.support.preferences import TINY
from tests.support.restorers import CHANNELS

pytestmark = pytest.mark.django_db


def run(*words: object) -> str:
    out = io.StringIO()
    call_command(*map(str, words), stdout=out, stderr=io.StringIO())
    return out.getvalue()


def judge_pairs() -> None:
    """Let a person judge both contested pairs, one for each image."""
    campaign = Campaign.objects.create(slug="lpff", name="LPFF")
    contested = Pair.objects.filter(kind=Pair.Kind.CONTESTED)
    items.add_items(campaign=campaign, pairs=contested.values_list("pk", flat=True))
    person = make_user("ann")
    lifecycle.invite(campaign=campaign, annotators=[person])
    for is_first in (True, False):
        lease = leasing.lease_items(annotator=person, campaign=campaign)[0]
        choice = "left" if lease.left_is_first == is_first else "right"
        judging.submit_judgement(annotator=person, lease_token=lease.token, key=uuid.uuid4(), choice=choice)


@pytest.fixture
def travelled(tmp_path, settings) -> Path:
    """A snapshot of two data sets with images, on a machine without the site's media. Only lpff has preferences."""
    for number, folder in enumerate(("lpff/train", "lpff/train", "ffhq/train", "ffhq/train", "ffhq/test")):
        noise(tmp_path / folder / f"{number}.png", number, size=compact.SIZE)
    for number in (0, 1):
        noise(tmp_path / "results" / f"{number}.png", 10 + number, size=compact.SIZE)
    for folder in ("lpff/train", "ffhq/train", "ffhq/test"):
        name, _, split = folder.partition("/")
        run("ingest", tmp_path / folder, "--aligned", "--size", compact.SIZE, "--dataset", name, "--split", split)
    Face.objects.update(caption="The face of a person.")
    run("degrade")
    run("restore", "--restorer", "lanczos", "--from-folder", f"other={tmp_path / 'results'}", "--dataset", "lpff")
    run("build_pairs")
    judge_pairs()
    run("snapshot", tmp_path / "out", "--dataset", "lpff", "--faces-of", "ffhq", "--with-images")
    settings.MEDIA_ROOT, settings.RUN_ROOT = tmp_path / "none", tmp_path / "runs"
    return (tmp_path / "out").rename(tmp_path / "machine")


def test_snapshot_of_two_data_sets_trains_without_database(travelled, tmp_path, monkeypatch, django_assert_num_queries):
    rows = list(manifest.read_rows(travelled / "manifest.jsonl"))
    faces = dataset.read(travelled / "faces.jsonl")[1]
    assert ({row.dataset for row in rows}, {row.dataset for row in faces}) == ({"lpff"}, {"ffhq"})
    networks = compact.networks
    monkeypatch.setattr(compact, "networks", lambda variant, channels=CHANNELS: networks(variant, channels))
    torch.manual_seed(0)
    torch.save({"state_dict": clip.build(TINY).state_dict()}, tmp_path / "hps.pt")
    (tmp_path / "tiny.json").write_text(json.dumps(TINY))
    labels, pictures = travelled / "manifest.jsonl", ("--faces", travelled / "faces.jsonl", "--dataset", "ffhq")
    short = ("--iterations", 1, "--log-every", 1, "--save-every", 1, "--evaluate-every", 1, "--device", "cpu")
    with django_assert_num_queries(0):
        with pytest.raises(CommandError, match=r"has no preferences of data set ffhq; it has lpff\."):
            run("train_frm", "--manifest", labels, "--dataset", "ffhq", "--backbone", "compact")
        run(
            "train_frm", "--run", "frm", "--manifest", labels, "--dataset", "lpff", "--checkpoint", tmp_path / "hps.pt",
            "--architecture", tmp_path / "tiny.json", "--image-layers", 3, "--text-layers", 2, "--workers", 0,
            "--faces-per-step", 2, *short,
        )  # fmt: skip
        with pytest.raises(CommandError, match=r"has no faces of data set lpff; it has ffhq\."):
            run("train_base", "--faces", travelled / "faces.jsonl", "--dataset", "lpff")
        run("train_base", "--run", "base", *pictures, "--batch-size", 1, "--held-out", 1, *short)
        run(
            "refl", "--run", "tuned", "--base", "compact", "--base-run", "base", "--frm", "frm", *pictures,
            "--batch-size", 1, "--held-out", 1, "--lambda-lpips", 0, *short,
        )  # fmt: skip
    assert all(runs.open_run(tmp_path / "runs", name).is_done() for name in ("frm", "base", "tuned"))
