"""Fits of the predictor on judgements, and its labels of all other pairs."""

import uuid

import numpy as np
import pytest

from annotate.desk import judging, leasing
from annotate.models import AutoLabel, Face, Pair, Predictor, Preference, RefitRequest, Score
from annotate.pipeline.stage import Stage
from annotate.predictor import refitting, versions
from rewardlab.predictor import svm
from tests.support.factories import make_campaign, make_user

pytestmark = pytest.mark.django_db
METRICS = ("ssim", "psnr", "lpips", "niqe")


@pytest.fixture
def campaign():
    """40 faces, 120 contested pairs; the image with the higher `lpips` is better (metric names are arbitrary here)."""
    person = make_user("ann")
    campaign = make_campaign(slug="faces", faces=40, members=[person])
    random = np.random.default_rng(0)
    for face in Face.objects.all():
        for candidate in face.candidates.exclude(source="lq"):
            for metric in METRICS:
                Score.objects.create(candidate=candidate, metric=metric, value=random.normal())
    return campaign


def judge(campaign, count: int) -> None:
    person = campaign.memberships.get().annotator
    for lease in leasing.lease_items(annotator=person, campaign=campaign, depth=count):
        better = max((lease.left, lease.right), key=lambda c: c.scores.get(metric="lpips").value)
        judging.submit_judgement(
            annotator=person,
            lease_token=lease.token,
            key=uuid.uuid4(),
            choice="left" if better == lease.left else "right",
            criterion="detail",
        )


@pytest.mark.database
def test_svm_labels_all_unjudged_pairs(campaign):
    judge(campaign, 60)
    version = versions.fit_predictor()
    assert (version.status, version.labels, version.pairs_labelled) == ("ready", 60, 60)
    assert tuple(version.features) == METRICS
    assert version.cv_accuracy > 0.8 > version.baseline_accuracy
    by_origin = {
        origin: Preference.objects.filter(origin=origin).count() for origin in ("ground_truth", "human", "svm")
    }
    assert by_origin == {"ground_truth": 120, "human": 60, "svm": 60}
    assert Preference.objects.count() == Pair.objects.count()
    right = 0
    for preference in Preference.objects.filter(origin="svm").select_related("pair"):
        values = [c.scores.get(metric="lpips").value for c in (preference.pair.first, preference.pair.second)]
        right += (preference.p_first > 0.5) == (values[0] > values[1])
    assert right > 48


@pytest.mark.database
def test_new_version_replaces_labels_only_when_complete(campaign):
    judge(campaign, 40)
    first = versions.fit_predictor()
    judge(campaign, 20)
    second = versions.fit_predictor(grid=False)
    assert second.parameters == first.parameters
    assert not second.grid_searched
    assert set(AutoLabel.objects.values_list("predictor", flat=True)) == {second.pk}
    assert Preference.objects.filter(origin="svm").count() == 60
    # Labels of a version killed before it was ready do not count.
    killed = Predictor.objects.create()
    AutoLabel.objects.create(predictor=killed, pair=Pair.objects.filter(kind="contested").first(), p_first=0.123)
    assert not Preference.objects.filter(p_first=0.123).exists()
    third = versions.fit_predictor(grid=False)
    killed.refresh_from_db()
    assert "Interrupted" in killed.error
    assert set(AutoLabel.objects.values_list("predictor", flat=True)) == {third.pk}


def test_gold_and_test_faces_are_not_trained_on(campaign):
    Face.objects.filter(pk__in=Face.objects.values("pk")[:20]).update(split="gold")
    judge(campaign, 120)
    trained = Pair.objects.filter(kind="contested", face__split="train").count()
    assert versions.fit_predictor().labels == trained == 60


@pytest.mark.database
def test_refit_runs_once_for_many_answers_or_states_why_not(campaign):
    judge(campaign, 6)
    assert refitting.refit_while_labels_wait() == 0
    assert "Judged pairs: 6," in RefitRequest.objects.get().note
    judge(campaign, 40)
    assert refitting.refit_while_labels_wait() == 1
    assert RefitRequest.objects.get().note == ""
    assert refitting.refit_while_labels_wait() == 0
    person = campaign.memberships.get().annotator
    judging.undo_last(annotator=person, campaign=campaign)
    assert refitting.refit_while_labels_wait() == 1
    assert Predictor.objects.order_by("-pk").first().labels == 45


def test_failed_refit_stores_reason(campaign, settings, tmp_path):
    judge(campaign, 40)
    settings.PREDICTOR_ROOT = tmp_path / "file"
    settings.PREDICTOR_ROOT.write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        refitting.refit_while_labels_wait()
    assert "NotADirectoryError" in Predictor.objects.get().error or "FileExistsError" in Predictor.objects.get().error
    assert "last refit failed" in RefitRequest.objects.get().note
    assert RefitRequest.objects.get().running_until is None


def test_later_pairs_are_labelled_by_saved_predictor(campaign):
    judge(campaign, 60)
    versions.fit_predictor()
    AutoLabel.objects.filter(pk__in=AutoLabel.objects.values("pk")[:25]).delete()
    summary = Stage("autolabel").run(versions.autolabel())
    assert summary.done == 25
    assert Stage("autolabel").run(versions.autolabel()).done == 0
    assert Preference.objects.filter(origin="svm").count() == 60


def test_incomplete_metrics_and_unscored_pairs_are_left_out(campaign):
    judge(campaign, 60)
    last = Face.objects.order_by("-pk").first()
    Score.objects.filter(candidate__face=last).delete()
    some = Face.objects.order_by("pk")[:5]
    for face in some:
        for candidate in face.candidates.exclude(source="lq"):
            Score.objects.create(candidate=candidate, metric="musiq", value=1.0)
    version = versions.fit_predictor()
    assert tuple(version.features) == METRICS
    labelled = set(AutoLabel.objects.values_list("pair__face", flat=True))
    assert last.pk not in labelled


def test_too_few_labels_raise_error_and_store_no_version(campaign):
    judge(campaign, 3)
    with pytest.raises(svm.TooFewLabels, match="Judged pairs: 3,"):
        versions.fit_predictor()
    assert not Predictor.objects.exists()
