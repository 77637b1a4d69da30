"""Auto-labels with bounded error, rollback to earlier versions, and the page of versions."""

import io
import uuid
from pathlib import Path

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from annotate.campaigns import lifecycle
from annotate.campaigns.lifecycle import Selection
from annotate.desk import judging, leasing
from annotate.models import (
    AuditEntry,
    AutoLabel,
    Campaign,
    Face,
    Item,
    LabelPolicy,
    Lease,
    Predictor,
    Preference,
    RefitRequest,
    Score,
)
from annotate.predictor import audit_sample, features, refitting, rollback, versions
from rewardlab.predictor import svm
from tests.support.factories import make_campaign, make_user

pytestmark = pytest.mark.django_db
METRICS = ("ssim", "psnr", "lpips", "niqe")
FACES = 150


def run(command: str, *args: str) -> str:
    out = io.StringIO()
    call_command(command, *args, stdout=out)
    return out.getvalue()


@pytest.fixture
def campaign(db) -> Campaign:
    """150 faces; the image with the higher `lpips` is better (metric names are arbitrary here)."""
    campaign = make_campaign(slug="faces", faces=FACES, members=[make_user("ann")])
    random = np.random.default_rng(0)
    candidates = [c for face in Face.objects.all() for c in face.candidates.exclude(source="lq")]
    Score.objects.bulk_create(
        Score(candidate=candidate, metric=metric, value=random.normal())
        for candidate in candidates
        for metric in METRICS
    )
    return campaign


def judge(campaign: Campaign, count: int, noise: float = 0.0, person=None) -> None:
    person = person or campaign.memberships.get().annotator
    values = dict(Score.objects.filter(metric="lpips").values_list("candidate", "value"))
    random = np.random.default_rng(1)
    for lease in leasing.lease_items(annotator=person, campaign=campaign, depth=count):
        left_wins = values[lease.left.pk] - values[lease.right.pk] + random.normal(0, noise) > 0
        judging.submit_judgement(
            annotator=person,
            lease_token=lease.token,
            key=uuid.uuid4(),
            choice="left" if left_wins else "right",
            criterion="detail",
        )


def audited_faces() -> set[int]:
    return set(audit_sample.audit_faces(LabelPolicy.objects.get().audit_share).tolist())


def test_bound_selects_labels_and_abstains_from_rest(campaign):
    judge(campaign, 300, noise=0.15)  # with more, some choice of the audited faces meets no bound
    output = run("autolabel", "--max-error", "0.2", "--audit-share", "0.5")
    version = Predictor.objects.get()
    audit = version.audit
    assert audit["chosen"]["bound"] <= 0.2 < audit["levels"][-1]["bound"] or audit["chosen"] == audit["levels"][-1]
    assert version.least_margin == audit["chosen"]["least_margin"]
    assert f"labels are used, with an error of at most {audit['chosen']['bound']:.1%}" in output
    labels = AutoLabel.objects.filter(predictor=version)
    assert labels.count() == version.pairs_labelled == 3 * FACES - 300
    counting = Preference.objects.filter(origin="svm")
    assert counting.count() == version.pairs_labelled - version.pairs_abstained
    assert all(abs(p - 0.5) >= version.least_margin for p in counting.values_list("p_first", flat=True))
    # One pair per face, and none is trained on.
    faces = audited_faces()
    judged = Preference.objects.filter(origin="human", pair__face__in=faces)
    assert audit["pairs"] == judged.values("pair__face").distinct().count()
    assert version.labels == Preference.objects.filter(origin="human").exclude(pair__face__in=faces).count()


def test_too_few_audited_pairs_abstain_from_all_with_reason(campaign):
    judge(campaign, 60)
    output = run("autolabel", "--max-error", "0.05")
    assert "the version abstains from all 390 pairs. This needs at least 104 audited pairs without an error" in output
    assert "No open campaign asks people about these pairs first" in output
    assert not Preference.objects.filter(origin="svm").exists()
    assert "all 390 labels are used" in run("autolabel", "--all")
    assert Preference.objects.filter(origin="svm").count() == 390
    for wrong in ("0", "1.5", "many"):
        with pytest.raises(CommandError, match=f"{wrong} is not a number between 0 and 1"):
            run("autolabel", "--max-error", wrong)
    for wrong in ("0.6", "0.0001"):
        with pytest.raises(CommandError, match=r"must be at least 0\.001"):
            run("autolabel", "--max-error", wrong)
    with pytest.raises(CommandError, match="--audit-share sets the bound of the error"):
        run("autolabel", "--audit-share", "0.4")
    assert LabelPolicy.objects.get().max_error is None


def test_worker_refit_keeps_bound(campaign):
    judge(campaign, 60)
    run("autolabel", "--max-error", "0.05")
    judge(campaign, 20)
    assert refitting.refit_while_labels_wait() == 1
    version = Predictor.objects.latest("pk")
    assert (version.max_error, version.least_margin) == (0.05, versions.ABSTAINS)
    assert not Preference.objects.filter(origin="svm").exists()


def test_failed_fit_restores_policy(campaign):
    judge(campaign, 6)
    with pytest.raises(CommandError, match="Judged pairs"):
        run("autolabel", "--max-error", "0.1")
    assert LabelPolicy.objects.get().max_error is None


def test_audit_uses_only_random_answers_on_training_faces(campaign):
    judge(campaign, 150)
    faces = audited_faces()
    before = set(audit_sample.audit_sample(np.array(list(faces))).pairs.tolist())
    assert before
    drawn = Lease.objects.filter(item__pair__in=before)
    one, two, three, *_ = sorted(before)
    drawn.filter(item__pair=one).update(drawn=Lease.Drawn.UNCERTAIN)
    drawn.filter(item__pair=two).update(drawn=Lease.Drawn.IMPORTED)
    Face.objects.filter(pairs=three).update(split="gold")
    after = set(audit_sample.audit_sample(np.array(list(faces))).pairs.tolist())
    assert not after & {one, two, three}


@pytest.mark.database
def test_abstained_pairs_are_asked_first(campaign):
    judge(campaign, 200)
    lead = make_user(is_staff=True)
    uncertain = Campaign(slug="uncertain", name="Uncertain", order="uncertain", random_share=0)
    lifecycle.create_campaign(campaign=uncertain, selection=Selection(), actor=lead)
    run("autolabel", "--max-error", "0.4", "--audit-share", "0.5")
    version = Predictor.objects.get()
    Predictor.objects.filter(pk=version.pk).update(least_margin=0.3)
    first = Item.objects.filter(campaign=uncertain, rank__isnull=False).order_by("rank").values_list("pair", flat=True)
    abstained = lifecycle.abstained_pairs()
    assert 0 < len(abstained) < 250
    assert set(first[: len(abstained)]) == abstained
    # In a campaign of these pairs alone, answers never count as randomly drawn.
    alone = Campaign(slug="alone", name="Alone")
    assert lifecycle.create_campaign(campaign=alone, selection=Selection(abstained=True), actor=lead) == len(abstained)
    lifecycle.invite(campaign=alone, annotators=[lead])
    leases = leasing.lease_items(annotator=lead, campaign=alone, depth=5)
    assert {lease.drawn for lease in leases} == {Lease.Drawn.UNCERTAIN}


def test_swapped_pair_has_complementary_probability(campaign):
    judge(campaign, 100)
    version = versions.fit_predictor()
    fitted = versions.load(version)
    table = features.pair_features(features.training_labels(), metric_order=fitted.features)
    p_first = fitted.probability_first(table.first, table.second)
    assert fitted.probability_first(table.second, table.first) == pytest.approx(1 - p_first, abs=1e-12)


def labels_of(version: Predictor) -> dict[int, float]:
    return dict(AutoLabel.objects.filter(predictor=version).values_list("pair", "p_first"))


@pytest.mark.database
def test_rollback_restores_labels_and_pins_version(campaign):
    judge(campaign, 60)
    first = versions.fit_predictor()
    before = labels_of(first)
    judge(campaign, 60)
    versions.fit_predictor(grid=False)
    assert not labels_of(first)
    assert "is current: 330 pairs labelled" in run("rollback_predictor")
    after = labels_of(first)
    assert set(AutoLabel.objects.values_list("predictor", flat=True)) == {first.pk}
    assert {pair: after[pair] for pair in after} == pytest.approx({pair: before[pair] for pair in after}, abs=1e-4)
    # The worker fits nothing and says why; a manual fit replaces the pinned version.
    judge(campaign, 10)
    assert refitting.refit_while_labels_wait() == 0
    assert "pinned by a rollback" in RefitRequest.objects.get().note
    assert refitting.search_if_due() is None
    late = versions.fit_predictor(grid=False, manual=False)  # a worker's fit started before the rollback
    assert late.status == Predictor.Status.WITHDRAWN
    assert Preference.objects.filter(origin="svm").count() == 320  # the first version's, without pairs judged since
    newest = versions.fit_predictor(grid=False)
    assert LabelPolicy.objects.get().pinned is None
    assert set(AutoLabel.objects.values_list("predictor", flat=True)) == {newest.pk}
    assert AuditEntry.objects.filter(action="roll-back", target=f"predictor {first.pk}").exists()


def test_rollback_to_unloadable_version_changes_nothing(campaign, settings):
    judge(campaign, 60)
    with pytest.raises(CommandError, match="no version yet"):
        run("rollback_predictor")
    first = versions.fit_predictor()
    second = versions.fit_predictor(grid=False)
    before = labels_of(second)
    path = Path(settings.PREDICTOR_ROOT) / first.file
    content = path.read_bytes()
    path.write_bytes(content[:-1] + b"x")
    with pytest.raises(CommandError, match="was changed or damaged"):
        run("rollback_predictor", str(first.pk))
    path.unlink()
    with pytest.raises(CommandError, match="is missing"):
        run("rollback_predictor")
    with pytest.raises(CommandError, match=f"no version 77 to roll back to. Known versions: {first.pk}, {second.pk}"):
        run("rollback_predictor", "77")
    assert labels_of(second) == before
    assert LabelPolicy.objects.get().pinned is None


@pytest.mark.database
def test_killed_rollback_changes_nothing(campaign, monkeypatch):
    judge(campaign, 60)
    first = versions.fit_predictor()
    judge(campaign, 30)
    second = versions.fit_predictor(grid=False)

    def current() -> list:
        return list(Preference.objects.order_by("pair").values_list("pair", "p_first", "origin"))

    before = current()
    # Kill it while it writes labels, then inside its final transaction.
    for module, function in ((versions, "_insert_labels"), (rollback.audit_log, "record")):
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(module, function, killed)
            rollback.roll_back()
        assert current() == before
        assert LabelPolicy.objects.get().pinned is None
        assert set(Predictor.objects.values_list("status", flat=True)) == {Predictor.Status.READY}
    assert rollback.roll_back() == first
    assert set(AutoLabel.objects.values_list("predictor", flat=True)) == {first.pk} != {second.pk}


def killed(*args, **kwargs):
    raise KeyboardInterrupt


def test_versions_page_shows_audit_and_learning_curve(campaign, client):
    judge(campaign, 150)
    person = campaign.memberships.get().annotator
    client.force_login(person)
    assert client.get("/predictors").status_code == 403
    client.force_login(make_user(is_staff=True))
    assert "No version has been fitted yet" in client.get("/predictors").content.decode()
    versions.fit_predictor()
    run("autolabel", "--max-error", "0.3", "--audit-share", "0.4")
    output = run("learning_curve", "--points", "2")
    assert "150 labels; metrics ssim, psnr, lpips, niqe." in output
    assert "SVM: the last doubling of the labels gave" in output
    page = client.get("/predictors").content.decode()
    for shown in ("The audit of version", "gradient-boosted tree", "Table 9", "not audited", "current"):
        assert shown in page
    assert page.count("<tr>") >= 2 + 2 + 10


def during_fits(monkeypatch, *actions) -> list:
    """Run one of the actions during each of the next fits. Return the list of actions that have not run yet."""
    fit, left = svm.fit, list(actions)

    def interrupted(*args, **kwargs):
        if left:
            left.pop(0)()
        return fit(*args, **kwargs)

    monkeypatch.setattr(svm, "fit", interrupted)
    return left


@pytest.mark.database
def test_policy_change_during_fit_withdraws_version(campaign, monkeypatch):
    judge(campaign, 100)
    first = versions.fit_predictor()
    judge(campaign, 100)
    during_fits(monkeypatch, lambda: LabelPolicy.objects.update(max_error=0.3, audit_share=0.5))
    late = versions.fit_predictor(grid=False, manual=False)
    assert (late.labels, late.max_error, late.audit) == (200, None, {})
    assert late.status == Predictor.Status.WITHDRAWN  # else all of its labels would count, against the policy
    assert set(AutoLabel.objects.values_list("predictor", flat=True)) == {first.pk}
    assert refitting.refit_while_labels_wait() == 1
    assert Predictor.objects.latest("pk").max_error == 0.3


def test_grid_is_searched_again_without_newly_audited_faces(campaign):
    judge(campaign, 100)
    versions.fit_predictor()
    for share, searches in (("0.2", True), ("0.1", False), ("0.3", True)):
        run("autolabel", "--max-error", "0.3", "--audit-share", share)
        assert Predictor.objects.latest("pk").grid_searched == searches
    assert not versions.fit_predictor(grid=False).grid_searched


@pytest.mark.database
def test_rollback_during_refit_stops_refitting(campaign, monkeypatch):
    judge(campaign, 60)
    first = versions.fit_predictor()
    versions.fit_predictor(grid=False)
    judge(campaign, 10)

    def never():
        raise AssertionError("refitting continued after the rollback")

    left = during_fits(monkeypatch, lambda: rollback.roll_back(to=first.pk), never)
    assert refitting.refit_while_labels_wait() == 1
    assert left == [never]
    assert set(AutoLabel.objects.values_list("predictor", flat=True)) == {first.pk}


def test_default_rollback_skips_withdrawn_versions(campaign):
    judge(campaign, 60)
    first = versions.fit_predictor()
    bad = versions.fit_predictor(grid=False)
    rollback.roll_back()
    versions.fit_predictor(grid=False)
    assert rollback.roll_back() == first
    assert rollback.roll_back(to=bad.pk) == bad  # a named version may be withdrawn


@pytest.mark.database
def test_campaign_of_abstained_pairs_is_ranked_without_judged(campaign):
    judge(campaign, 60)
    versions.fit_predictor()
    Predictor.objects.update(least_margin=versions.ABSTAINS)
    judge(campaign, 10)
    alone = Campaign(slug="alone", name="Alone")
    selection = Selection(abstained=True)
    assert lifecycle.create_campaign(campaign=alone, selection=selection, actor=make_user(is_staff=True)) == 380
    ranked = Item.objects.filter(campaign=alone, rank__isnull=False).order_by("rank").values_list("pair", flat=True)
    p_first = dict(AutoLabel.objects.values_list("pair", "p_first"))
    margins = [abs(p_first[pair] - 0.5) for pair in ranked]
    assert len(margins) == 380
    assert margins == sorted(margins)


def test_versions_page_states_bound_of_current_labels(campaign, client):
    judge(campaign, 100)
    first = versions.fit_predictor()
    run("autolabel", "--max-error", "0.025")
    client.force_login(make_user(is_staff=True))
    page = client.get("/predictors").content.decode()
    assert "their error is at most 2.5%," in page
    assert "another policy" not in page
    rollback.roll_back(to=first.pk)
    page = client.get("/predictors").content.decode()
    assert "fitted under another policy: <strong>all of its labels count" in page
