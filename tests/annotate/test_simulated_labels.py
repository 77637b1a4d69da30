"""Answers of simulated annotators: left out of every label by default, counted where they are asked for."""

import io
import uuid

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from annotate.common.sides import side_of
from annotate.desk import judging, leasing
from annotate.labels.votes import counted, share_for_first, votes
from annotate.models import AuditEntry, AutoLabel, Campaign, Face, LabelPolicy, Predictor, Preference, Score
from annotate.predictor import refitting, versions
from annotate.predictor.audit_sample import audit_faces, audit_sample
from annotate.predictor.features import training_labels
from annotate.predictor.simulated_labels import count_simulated
from annotate.predictor.status import current_predictor, labels_wait
from rewardlab import manifest
from tests.support.factories import make_campaign, make_user

pytestmark = pytest.mark.django_db
METRICS = ("ssim", "psnr", "lpips", "niqe")


def run(command: str, *args: str) -> str:
    out = io.StringIO()
    call_command(command, *args, stdout=out)
    return out.getvalue()


def answer(campaign: Campaign, name: str, count: int, choice: str) -> None:
    """Let this annotator answer `count` items."""
    person = campaign.members.get(username=name)
    for lease in leasing.lease_items(annotator=person, campaign=campaign, depth=count):
        side = side_of(choice, left_is_first=lease.left_is_first)
        judging.submit_judgement(annotator=person, lease_token=lease.token, key=uuid.uuid4(), choice=side)


@pytest.fixture
def campaign():
    """20 faces with 60 contested pairs. A program prefers all second images; Ann has judged 20 pairs."""
    members = [make_user("ann"), make_user("program", simulated=True)]
    campaign = make_campaign(faces=20, overlap=2, members=members)
    random = np.random.default_rng(0)
    for face in Face.objects.all():
        for candidate in face.candidates.exclude(source="lq"):
            for metric in METRICS:
                Score.objects.create(candidate=candidate, metric=metric, value=random.normal())
    answer(campaign, "program", 60, "second")
    answer(campaign, "ann", 10, "first")
    answer(campaign, "ann", 10, "second")
    return campaign


def assert_readers_count(folder, *, people: int, simulated: int) -> None:
    """Check how many pairs have votes of people and of programs, wherever votes are counted."""
    wanted = {name: pairs for name, pairs in (("human", people), ("simulated", simulated)) if pairs}
    given: dict[int, list] = {}
    for vote in counted(votes()):
        given.setdefault(vote.pair, []).append(vote)
    judged = Preference.objects.filter(origin__in=["human", "simulated"])
    assert dict(judged.values_list("pair_id", "p_first")) == {pair: share_for_first(own) for pair, own in given.items()}
    by_origin = {name: judged.filter(origin=name).count() for name in ("human", "simulated")}
    assert {name: pairs for name, pairs in by_origin.items() if pairs} == wanted
    labels = training_labels()
    assert (len(labels.pairs), int(labels.simulated.sum())) == (people + simulated, simulated)
    assert not audit_sample(audit_faces(1.0)).simulated
    out = run("snapshot", str(folder))
    counts = manifest.read_header(folder / "manifest.jsonl")["counts"]
    assert {name.removeprefix("train/"): n for name, n in counts.items() if name.endswith(tuple(wanted))} == wanted
    assert ("60 answers of simulated annotators are left out" in out) == (simulated == 0)
    assert (f"{simulated} of these are SIMULATED" in out) == (simulated > 0)
    answers = run("export", str(folder), "--format", "answers-csv")
    assert f"answers.csv: {people + simulated} answers" in answers


@pytest.mark.database
def test_simulated_answers_are_labels_only_while_they_count(campaign, tmp_path):
    assert_readers_count(tmp_path / "a", people=20, simulated=0)
    with pytest.raises(CommandError, match=r"No preference has .*60 answers of simulated annotators are left out"):
        run("export", str(tmp_path / "b"), "--format", "csv", "--origin", "simulated")
    assert "do not count as labels. There are 60" in run("count_simulated")
    assert "simulated annotators count as labels" in run("count_simulated", "yes")
    assert_readers_count(tmp_path / "c", people=20, simulated=40)
    run("count_simulated", "yes")
    run("count_simulated", "no")
    assert_readers_count(tmp_path / "d", people=20, simulated=0)
    changes = AuditEntry.objects.filter(action="count-simulated").order_by("pk")
    assert [entry.details["counted"] for entry in changes] == [True, False]


@pytest.mark.database
def test_svm_learns_from_people_unless_simulated_answers_count(campaign):
    assert refitting.refit_while_labels_wait() == 1
    by_people = current_predictor()
    assert (by_people.labels, by_people.simulated_labels, by_people.pairs_labelled) == (20, 0, 40)
    assert Preference.objects.filter(origin="svm").count() == 40
    count_simulated(True)
    assert labels_wait() and refitting.refit_while_labels_wait() == 1 and not labels_wait()
    mixed = current_predictor()
    assert (mixed.labels, mixed.simulated_labels, mixed.count_simulated) == (60, 40, True)
    count_simulated(False)
    # What was learned from programs ceases to count at once, and its parameters are not used again.
    assert not Preference.objects.filter(origin="svm").exists()
    assert current_predictor() == by_people and labels_wait()
    assert versions.last_searched(LabelPolicy.objects.get()) == by_people
    with pytest.raises(CommandError, match=r"learned from simulated annotators.*count_simulated yes"):
        run("rollback_predictor", str(mixed.pk))
    assert refitting.refit_while_labels_wait() == 1
    assert Preference.objects.filter(origin="svm").count() == 40
    assert set(AutoLabel.objects.values_list("predictor", flat=True)) == {current_predictor().pk}
    answer(campaign, "program", 60, "first")
    assert not labels_wait()


def test_too_few_labels_name_the_answers_left_out(campaign):
    for lease in campaign.members.get(username="ann").leases.filter(status="answered")[:15]:
        judging.undo_last(annotator=lease.annotator, campaign=campaign)
    for command in ("fit_predictor", "learning_curve"):
        with pytest.raises(CommandError, match=r"Judge more pairs\. 60 answers of simulated annotators are left out\."):
            run(command)
    assert refitting.refit_while_labels_wait() == 0
    count_simulated(True)
    assert "60 labels" in run("fit_predictor")


def test_version_pinned_with_simulated_labels_is_released(campaign):
    count_simulated(True)
    first, second = versions.fit_predictor(), versions.fit_predictor(grid=False)
    run("rollback_predictor")
    assert LabelPolicy.objects.get().pinned == first
    assert second.simulated_labels == first.simulated_labels == 40
    count_simulated(False)
    assert LabelPolicy.objects.get().pinned is None
    assert current_predictor() is None
    assert refitting.refit_while_labels_wait() == 1


def test_pages_say_whether_simulated_answers_count(campaign, lead):
    page = lead.get("/predictors").content.decode()
    assert "60 answers of simulated annotators are left out." in page and "manage.py count_simulated yes" in page
    for address in ("/campaigns/preferences", f"/campaigns/{campaign.slug}/"):
        assert "60 answers of simulated annotators are left out." in lead.get(address).content.decode()
    count_simulated(True)
    page = lead.get("/predictors").content.decode()
    assert "<strong>60 answers of SIMULATED annotators count as labels</strong>" in page
    for address in ("/campaigns/preferences", f"/campaigns/{campaign.slug}/"):
        assert "left out" not in lead.get(address).content.decode()
    assert Predictor.objects.count() == 0


@pytest.mark.database
def test_late_simulated_version_is_withdrawn(campaign, monkeypatch):
    """The setting changes while the worker fits: the version must not become current."""
    count_simulated(True)
    write = versions.write_labels

    def change_the_setting(*args):
        count_simulated(False)
        return write(*args)

    monkeypatch.setattr(versions, "write_labels", change_the_setting)
    version = versions.fit_predictor(manual=False)
    assert (version.status, version.simulated_labels) == ("withdrawn", 40)
