"""Tests of gold sets: creation, freezing, detection of changes, refusal of gold faces in training."""

import io
import uuid

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from annotate.agreement import gold_hashes, gold_sets
from annotate.campaigns import lifecycle
from annotate.common.refusals import Refused
from annotate.desk import judging, leasing
from annotate.models import AuditEntry, Campaign, Candidate, Face, GoldSet, Item, Lease, User
from annotate.pipeline import pairing
from tests.support.factories import make_face, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def make_faces(count: int, split: str = "gold", **fields) -> list[Face]:
    faces = [make_face(split=split, **fields) for _ in range(count)]
    for _ in pairing.build_pairs(Face.objects.filter(pk__in=[face.pk for face in faces])):
        pass
    return faces


def answer_all(gold_set: GoldSet, choose=lambda lease, number: "left") -> None:
    for number, member in enumerate(gold_set.campaign.memberships.all()):
        while leases := leasing.lease_items(annotator=member.annotator, campaign=gold_set.campaign):
            judging.submit_judgement(
                annotator=member.annotator,
                lease_token=leases[0].token,
                key=uuid.uuid4(),
                choice=choose(leases[0], number),
                criterion="realism",
            )


def make_gold(faces: int = 2, **options) -> GoldSet:
    make_faces(faces)
    people = [make_user() for _ in range(2)]
    return gold_sets.make_gold_set(pairs=6 * faces, overlap=2, annotators=people, **{"repeat_share": 0} | options)


def run(command: str, *args: str) -> str:
    out = io.StringIO()
    call_command(command, *args, stdout=out)
    return out.getvalue()


def test_make_gold_takes_all_pairs_of_one_face_per_person():
    faces = make_faces(5)
    Face.objects.filter(pk=faces[1].pk).update(identity=faces[0].identity)
    make_user("ann")
    make_faces(2, split="train")
    with pytest.raises(CommandError, match="have 24 pairs, with one face per person; 360 are needed"):
        run("make_gold")
    with pytest.raises(CommandError, match="no user bob"):
        run("make_gold", "--annotators", "bob")
    for name in ("bad name", "new", "x" * 51):
        with pytest.raises(CommandError, match=f"“{name}” is not a valid campaign address"):
            run("make_gold", "--name", name, "--pairs", "6")
    with pytest.raises(CommandError, match="-1 is not an integer from 0"):
        run("make_gold", "--seed", "-1")
    with pytest.raises(CommandError, match="A gold set needs at least 2 annotators per pair"):
        run("make_gold", "--overlap", "1")
    printed = run("make_gold", "--pairs", "24", "--annotators", "ann", "--overlap", "2")
    assert "24 pairs of 4 faces, 12 contested and 12 anchored" in printed
    made = GoldSet.objects.get()
    assert made.pairs_sha256 in printed
    asked = Item.objects.filter(campaign=made.campaign)
    assert set(asked.values_list("pair__face__split", flat=True)) == {"gold"}
    assert asked.values("pair__face__identity").distinct().count() == 4
    assert made.campaign.repeat_share == 0.1
    with pytest.raises(CommandError, match="The campaign “gold” already exists"):
        run("make_gold", "--pairs", "6")


def test_seed_determines_drawn_faces():
    make_faces(12)
    chosen = [
        set(gold_sets.make_gold_set(slug=slug, pairs=24, seed=seed).campaign.items.values_list("pair", flat=True))
        for slug, seed in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_gold_set_of_simulated_answers_is_frozen_only_where_they_count():
    made = make_gold()
    answer_all(made)
    User.objects.filter(memberships__campaign=made.campaign).update(simulated=True)
    with pytest.raises(CommandError) as refusal:
        run("freeze_gold")
    assert "24 answers of the gold set gold are missing" in str(refusal.value)
    assert "24 answers of simulated annotators are left out" in str(refusal.value)
    run("count_simulated", "yes")
    assert "frozen, sha256" in run("freeze_gold", "gold")


def test_complete_gold_set_is_frozen_and_refuses_changes():
    made = make_gold()
    with pytest.raises(CommandError, match="24 answers of the gold set gold are missing"):
        run("freeze_gold")
    answer_all(made)
    assert "frozen, sha256" in run("freeze_gold", "gold")
    made.refresh_from_db()
    assert made.answers_sha256 == gold_hashes.answers_hash(made)
    person, campaign = made.campaign.memberships.first().annotator, Campaign.objects.get()
    for act in (
        lambda: judging.undo_last(annotator=person, campaign=campaign),
        lambda: lifecycle.set_open(campaign=campaign, is_open=True),
        lambda: lifecycle.add_contested_pairs(campaign=campaign),
        lambda: leasing.lease_items(annotator=person, campaign=campaign),
        lambda: gold_sets.freeze_gold_set(gold_set=made),
    ):
        with pytest.raises(Refused):
            act()
    with pytest.raises(CommandError, match="frozen"):
        run("simulate_annotators", "--campaign", "gold")
    gold_hashes.require_unchanged(made)
    actions = set(AuditEntry.objects.filter(target="campaign gold").values_list("action", flat=True))
    assert {"make-gold-set", "freeze-gold-set"} <= actions


def test_changes_in_database_are_detected():
    made = make_gold()
    answer_all(made)
    made = gold_sets.freeze_gold_set(gold_set=made)
    lease = Lease.objects.filter(item__campaign=made.campaign).first()
    with connection.cursor() as cursor:  # SQL that neither the services nor the triggers refuse
        cursor.execute("UPDATE annotate_lease SET annotator_id = %s WHERE id = %s", [make_user().pk, lease.pk])
    with pytest.raises(gold_hashes.GoldChanged, match="answers of the gold set gold have changed"):
        gold_hashes.require_unchanged(made)
    shown = Item.objects.filter(campaign=made.campaign, pair__kind="contested").first().pair.first
    Candidate.objects.filter(pk=shown.pk).update(sha256="0" * 64)
    with pytest.raises(gold_hashes.GoldChanged, match="pairs of the gold set gold have changed"):
        gold_hashes.require_unchanged(made)
    with pytest.raises(CommandError, match="have changed"):
        run("agreement", "gold", "--people-only")


def plant_person(made: GoldSet) -> Face:
    """Add a training face of a person in the gold set."""
    identity = Item.objects.filter(campaign=made.campaign).first().pair.face.identity
    return make_faces(1, split="train", identity=identity)[0]


def plant_split(made: GoldSet) -> Face:
    """Move a face of the gold set to the training split."""
    face = Item.objects.filter(campaign=made.campaign).first().pair.face
    Face.objects.filter(pk=face.pk).update(split="train")
    return face


def plant_picture(made: GoldSet) -> Face:
    """Add a training face with a restored picture from the gold set."""
    face = make_faces(1, split="train")[0]
    shown = Item.objects.filter(campaign=made.campaign, pair__kind="contested").first().pair.first
    face.candidates.filter(source=shown.source).update(sha256=shown.sha256)
    return face


PATHS = {
    "fit_predictor": ["fit_predictor"],
    "labels with a bound": ["autolabel", "--max-error", "0.1"],
    "learning curve": ["learning_curve"],
    "snapshot": ["snapshot", "{folder}"],
    "export": ["export", "{folder}", "--format", "csv"],
    "train_frm": ["train_frm", "--backbone", "compact", "--run", "leak", "--device", "cpu"],
    "train_base": ["train_base", "--run", "leak", "--device", "cpu"],
    "refl": ["refl", "--base", "compact", "--base-run", "none", "--frm", "none", "--run", "leak", "--device", "cpu"],
    "agreement": ["agreement", "gold"],
    "another gold set": ["make_gold", "--name", "again", "--pairs", "6"],
}


@pytest.mark.parametrize("plant", [plant_person, plant_split, plant_picture])
def test_every_training_command_refuses_gold_faces(plant, tmp_path, settings):
    settings.RUN_ROOT = tmp_path / "runs"
    made = make_gold()
    face = plant(made)
    for path, command in PATHS.items():
        with pytest.raises(CommandError) as refusal:
            run(*[part.format(folder=tmp_path / path) for part in command])
        assert f"Face {face.pk} " in str(refusal.value), path
        assert "Nothing may train on gold faces" in str(refusal.value), path
        assert not (tmp_path / path).exists(), path
