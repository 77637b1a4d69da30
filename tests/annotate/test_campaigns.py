"""Campaigns for the lead: creation, actions, oversight of annotators."""

import random
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse

from annotate.campaigns import items, lifecycle, oversight
from annotate.common.refusals import Refused
from annotate.desk import judging, leasing
from annotate.models import AuditEntry, Campaign, Dataset, Face, Judgement, Lease, Pair
from annotate.pipeline import pairing
from annotate.statistics.annotator_checks import CheckedAnswer, behaviours, flags
from annotate.statistics.significance import binomial_two_sided, fewer_than, holm
from tests.support.factories import make_campaign, make_face, make_user

START = datetime(2026, 1, 1, tzinfo=UTC)


# Annotator behaviour, from plain answers


def test_p_values_match_scipy():
    from scipy.stats import binomtest, fisher_exact

    for hits, of in [(5, 10), (0, 12), (61, 100), (5200, 10_000)]:
        assert binomial_two_sided(hits, of) == pytest.approx(binomtest(hits, of).pvalue, rel=1e-6)
    for table in [(12, 30, 80, 100), (0, 5, 9, 9), (40, 50, 400, 500)]:
        hits, of, their_hits, their_of = table
        expected = fisher_exact([[hits, of - hits], [their_hits, their_of - their_hits]], alternative="less").pvalue
        assert fewer_than(*table) == pytest.approx(expected, rel=1e-6)
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])  # computed manually, Holm 1979


def answers_of(annotator: int, rng: random.Random, *, items: int = 200, error: float = 0.2, side=None, seconds=3.0):
    """Simulate an annotator who chooses the better image (always the first) with a share of errors, or by `side`."""
    given = []
    for item in range(items):
        left_is_first = rng.random() < 0.5
        choice = "second" if rng.random() < error else "first"
        if side:
            choice = "first" if (side(item) == "left") == left_is_first else "second"
        at = START + timedelta(seconds=item)
        given.append(CheckedAnswer(annotator, item, True, choice, left_is_first, seconds, False, at))
        if item % 10 == 0:
            again = ("second" if rng.random() < error else "first") if not side else choice
            if side:  # mirrored: the same side is the other image
                again = "second" if choice == "first" else "first"
            given.append(CheckedAnswer(annotator, item, True, again, not left_is_first, seconds, True, at))
    return given


def test_flags_name_careless_annotators_with_reason():
    rng = random.Random(0)
    given = [answer for n in range(5) for answer in answers_of(n, rng)]
    given += answers_of(10, rng, side=lambda item: "left" if rng.random() < 0.7 else "right")
    given += answers_of(11, rng, side=lambda item: "left" if item % 2 else "right")
    given += answers_of(12, rng, seconds=0.4)
    reasons = {
        annotator: " ".join(flag.words for flag in found) for annotator, found in flags(behaviours(given)).items()
    }
    assert set(reasons) == {10, 11, 12}
    assert "Chose the left image" in reasons[10]
    assert "mirrored repeats" in reasons[10]
    assert "majority of the others" in reasons[10]
    assert "Chose the left" not in reasons[11]
    assert "too often" in reasons[11]
    assert reasons[12] == "200 of 200 answers came in under 0.7 s: too fast to compare two images."


def test_flags_rare_for_attentive_annotators():
    """Of 200 campaigns with ten attentive annotators each, about 5% may raise a flag."""
    rng = random.Random(1)
    raised = sum(
        bool(flags(behaviours(answer for n in range(10) for answer in answers_of(n, rng, items=60))))
        for _ in range(200)
    )
    assert raised <= 18  # 5% are 10; more than 18 of 200 has a probability of 0.4%


# Creating and running a campaign


@pytest.fixture
def lead(client, db):
    lead = make_user("lead", is_staff=True)
    client.force_login(lead)
    return lead


@pytest.fixture
def faces(db):
    faces = [make_face(split) for split in ("train", "train", "train", "gold", "test")]
    list(pairing.build_pairs(Face.objects.all()))
    return faces


def form(**fields) -> dict:
    return {
        "splits": ["train", "gold"], "name": "Hair and skin", "kind": "preference", "overlap": 2, "order": "balanced",
        "random_share": 0.2, "repeat_share": 0.05, "qualification_size": 0, "qualification_share": 0.8,
        "qualification_rounds": 3, "quiet_hours": 24, "lease_seconds": 900, "show_input": "on",
    } | fields  # fmt: skip


@pytest.mark.database
def test_create_campaign_uses_selected_pairs_as_counted(client, lead, faces):
    ann = make_user("ann")
    chosen = {"splits": ["train"], "restorer_pairs": ["dat-light|lanczos", "lanczos|hq"], "pairs": 4}
    count = client.get(reverse("campaign_count"), chosen | {"overlap": "2"}).content.decode()
    assert "4 pairs" in count
    assert "8 answers" in count
    response = client.post(reverse("campaign_new"), form(**chosen, annotators=[ann.pk]))
    campaign = Campaign.objects.get()
    assert response["Location"] == f"/campaigns/{campaign.slug}/" == "/campaigns/hair-and-skin/"
    assert list(campaign.members.all()) == [ann]
    assert (campaign.item_count, campaign.overlap, campaign.repeat_share) == (4, 2, 0.05)
    asked = Pair.objects.filter(items__campaign=campaign)
    assert {pair.face.split for pair in asked} == {"train"}
    restorer_pairs = {frozenset((pair.first.source, pair.second.source)) for pair in asked}
    assert restorer_pairs == {frozenset(("dat-light", "lanczos")), frozenset(("lanczos", "hq"))}
    assert [entry.action for entry in AuditEntry.objects.order_by("pk")] == ["create-campaign", "invite"]
    assert "4 items" in client.get(response["Location"]).content.decode()
    pairs = Pair.objects.values_list("pk", flat=True)
    assert [items.add_items(campaign=campaign, pairs=pairs) for _ in range(2)] == [pairs.count() - 4, 0]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"splits": []}, "Choose training, gold or test faces."),
        ({"splits": ["test"]}, "Test faces are held out for evaluation: choose the kind “user study”"),
        ({"splits": ["nowhere"]}, "Select a valid choice"),
        ({"overlap": 0}, "greater than or equal to 1"),
        ({"repeat_share": 0.9}, "less than or equal to 0.5"),
        ({"name": "New"}, "is reserved for a page"),
        ({"name": "美しさ"}, "Enter an address"),
        ({"restorer_pairs": ["dat-light|nobody"]}, "Select a valid choice"),
        ({"pairs": -1}, "greater than or equal to 1"),
    ],
)
def test_create_campaign_invalid_field_marked(client, lead, faces, fields, words):
    response = client.post(reverse("campaign_new"), form(**fields))
    assert response.status_code == 400
    assert words in response.content.decode()
    assert not Campaign.objects.exists()


def test_create_campaign_without_pairs_refused(client, lead):
    response = client.post(reverse("campaign_new"), form())
    assert response.status_code == 400
    assert "No pairs match this selection" in response.content.decode()
    assert not Campaign.objects.exists()


@pytest.mark.database
def test_study_of_test_faces_of_one_data_set(client, lead, faces):
    """A restorer of test faces of one data set: the form says where its pairs are, and a study can ask about them."""
    lfw = Dataset.objects.create(name="lfw")
    tuned = make_face("test", restorers=("dat-light", "tuned"), dataset=lfw)
    make_face("test", restorers=("dat-light", "lanczos"), dataset=lfw)
    list(pairing.build_pairs(Face.objects.all()))
    chosen = {"restorer_pairs": ["dat-light|tuned"]}
    words = "Pairs of these restorers exist in: lfw, test faces: 1."
    response = client.post(reverse("campaign_new"), form(**chosen))
    assert "No pairs match this selection" in response.content.decode()
    assert words in response.content.decode()
    asked = chosen | {"kind": "study", "splits": ["test"], "datasets": ["lfw"], "participants": 3}
    assert words in client.get(reverse("campaign_count"), asked).content.decode()
    client.post(reverse("campaign_new"), form(**asked))
    assert set(Pair.objects.filter(items__campaign__name="Hair and skin").values_list("face", flat=True)) == {tuned.pk}
    in_photographs = {"splits": ["train", "gold"], "datasets": ["photographs"], "name": "Others"}
    client.post(reverse("campaign_new"), form(**in_photographs))
    places = Pair.objects.filter(items__campaign__name="Others").values_list("face__dataset__name", "face__split")
    assert set(places) == {("photographs", "train"), ("photographs", "gold")}


def test_study_gives_every_participant_every_comparison(client, lead, faces):
    people = [make_user().pk for _ in range(3)]
    chosen = form(kind="study", pairs=2, participants=3, overlap=1)
    count = client.get(reverse("campaign_count"), chosen).content.decode()
    assert "every one of 3 participants answers 4 comparisons (at 5 seconds each: 1 min)" in count
    assert "12 answers in all" in count
    for wrong, words in (({"participants": ""}, "Enter the number"), ({"participants": 2}, "You invite 3 people")):
        assert words in client.post(reverse("campaign_new"), chosen | wrong | {"annotators": people}).content.decode()
    client.post(reverse("campaign_new"), chosen | {"annotators": people})
    campaign = Campaign.objects.get()
    assert campaign.show_reference
    assert (campaign.item_count, campaign.overlap) == (4, 3)  # two questions each
    assert [leasing.lease_items(annotator=one, campaign=campaign)[0].drawn for one in campaign.members.all()]


def do(client, campaign, action, **fields) -> str:
    address = reverse("campaign_action", args=[campaign.slug, action])
    return client.post(address, fields, follow=True).content.decode()


@pytest.mark.database
def test_lead_actions_reported_and_logged(client, lead):
    ann, bob = make_user("ann"), make_user("bob")
    campaign = make_campaign(faces=2, members=(ann,))
    lease = leasing.lease_items(annotator=ann, campaign=campaign, depth=2)[0]
    assert "Invited: bob." in do(client, campaign, "invite", people=[bob.pk])
    assert "answered by 3 annotators" in do(client, campaign, "extend", by=2)
    assert "Released 2 held items" in do(client, campaign, "release", annotator=ann.pk)
    page = do(client, campaign, "invitation", places=5, days=7)
    token = campaign.invitations.get().token
    assert f"http://testserver/join/{token}" in page
    assert "Reopen in the settings" in do(client, campaign, "pause")
    with pytest.raises(judging.Refused, match="was paused"):
        judging.submit_judgement(annotator=ann, lease_token=lease.token, key=uuid.uuid4(), choice="left")
    assert "Reopened" in do(client, campaign, "reopen")
    logged = AuditEntry.objects.filter(actor=lead).order_by("pk").values_list("action", flat=True)
    assert list(logged) == ["invite", "extend-overlap", "release-leases", "create-invitation", "pause", "reopen"]
    campaign.refresh_from_db()
    assert set(campaign.items.values_list("open_slots", flat=True)) == {3}
    for action, fields, words in [
        ("extend", {"by": 0}, "greater than or equal to 1"),
        ("extend", {"by": "many"}, "whole number"),
        ("invite", {}, "Choose at least one person"),
        ("adjudicate", {"adjudicate-people": [ann.pk]}, "There are no disputed items"),
    ]:
        assert words in do(client, campaign, action, **fields)
    assert client.post(reverse("campaign_action", args=[campaign.slug, "erase"])).status_code == 404


@pytest.mark.database
def test_links_promise_no_more_places_than_comparisons(client, lead):
    make_campaign(faces=2)
    study = Campaign(slug="study", name="Study", kind="study", overlap=3)
    lifecycle.create_campaign(campaign=study, selection=lifecycle.Selection(pairs=2), actor=lead)
    reason = "asks 3 people about every comparison. Members: 1; free places of links: 1."
    assert "Invited" in do(client, study, "invite", people=[make_user().pk])
    assert "created" in do(client, study, "invitation", places=1, days=7)
    page = do(client, study, "invitation", places=2, days=7)
    assert "There is room for 1 more." in page
    assert page.count(reason) == 2  # in the refusal, and with the form
    too_many = [make_user().pk for _ in range(2)]
    assert "There is room for 1 more." in do(client, study, "invite", people=too_many)
    with pytest.raises(Refused, match="There is room for 1 more"):
        lifecycle.create_invitation(campaign=study, places=2, actor=lead)
    do(client, study, "invite", people=too_many[:1])
    page = client.get(f"/campaigns/{study.slug}/people").content.decode()
    assert "There is no room for more participants." in page
    assert "Create link" not in page
    do(client, study, "extend", by=5)
    assert "Create link" in client.get(f"/campaigns/{study.slug}/people").content.decode()
    study.invitations.update(expires_at=START)
    assert "created" in do(client, study, "invitation", places=6, days=7)
    shared = make_campaign(faces=1)  # three pairs
    assert "created" in do(client, shared, "invitation", places=2, days=7)
    assert "Answers still needed: 3; free places of links: 2." in do(client, shared, "invitation", places=2, days=7)
    assert shared.invitations.count() == 1


def judge_all(annotator, campaign, choose) -> None:
    while leases := leasing.lease_items(annotator=annotator, campaign=campaign, depth=1):
        judging.submit_judgement(
            annotator=annotator, lease_token=leases[0].token, key=uuid.uuid4(), choice=choose(leases[0]), seconds=2.0
        )


@pytest.mark.database
def test_campaign_page_separates_repeats_and_assigns_adjudication(client, lead):
    ann, bob, simon = make_user("ann"), make_user("bob"), make_user("simon", simulated=True)
    campaign = make_campaign(faces=8, overlap=2, members=(ann, bob), repeat_share=0.5)  # enough for random repeats
    judge_all(ann, campaign, lambda lease: "left" if lease.left_is_first else "right")
    judge_all(bob, campaign, lambda lease: "left")
    assert oversight.item_counts(campaign) == {"complete": 24, "in progress": 0, "untouched": 0}
    found = {row.annotator: row for row in oversight.overview(campaign).rows}
    assert [found[person].behaviour.answered for person in (ann, bob)] == [24, 24]
    assert found[ann].behaviour.repeats == Lease.objects.filter(annotator=ann, is_repeat=True).count() > 0
    assert found[ann].behaviour.consistency == 1
    assert found[bob].behaviour.consistency == 0  # always left, so the other image when mirrored
    assert found[bob].behaviour.left_share == 1
    differ = sum(not lease.left_is_first for lease in Lease.objects.filter(annotator=bob, is_repeat=False))
    overall = oversight.overview(campaign).overall
    assert (overall.compared, overall.same) == (24, 24 - differ)
    page = client.get(f"/campaigns/{campaign.slug}/").content.decode()
    assert f"Annotators disagree on {differ} pairs" in page
    page = client.get(f"/campaigns/{campaign.slug}/pairs?show=disputed").content.decode()
    assert f"disagree on <strong>{differ}</strong>" in page
    assert page.count("answers differ</span>") == differ
    page = do(client, campaign, "adjudicate", **{"adjudicate-people": [simon.pk]})
    assert f"has {differ} disputed items" in page
    adjudication = Campaign.objects.get(adjudicates=campaign)
    assert list(adjudication.members.all()) == [simon]
    assert "Adjudication of" in client.get(f"/campaigns/{adjudication.slug}/").content.decode()


@pytest.mark.database
def test_quiet_campaign_raises_alarm(client, lead):
    ann = make_user("ann")
    campaign = make_campaign(faces=1, members=(ann,), quiet_hours=2)
    now = campaign.created_at
    assert oversight.pace(campaign, now=now + timedelta(hours=1)).quiet_for is None
    assert oversight.pace(campaign, now=now + timedelta(hours=3)).quiet_hours == 3
    lease = leasing.lease_items(annotator=ann, campaign=campaign, depth=1)[0]
    judging.submit_judgement(annotator=ann, lease_token=lease.token, key=uuid.uuid4(), choice="left")
    Lease.objects.filter(pk=lease.pk).update(closed_at=now - timedelta(hours=5))
    pace = oversight.pace(campaign)
    assert (pace.answers, pace.last_hour, pace.last_day, pace.quiet_hours) == (1, 0, 1, 5)
    assert pace.days_left is None  # no full day has passed
    later = oversight.pace(campaign, now=now + timedelta(hours=18))
    assert later.days_left is None
    Campaign.objects.filter(pk=campaign.pk).update(created_at=now - timedelta(days=2))
    campaign.refresh_from_db()
    assert oversight.pace(campaign).days_left == 2  # two left, one per day
    assert "quiet for 5 h" in client.get("/campaigns/").content.decode()
    assert "<strong>Quiet:</strong>" in client.get(f"/campaigns/{campaign.slug}/progress").content.decode()
    judge_all(ann, campaign, lambda lease: "left")
    assert oversight.pace(campaign, now=now + timedelta(days=9)).quiet_for is None  # a finished campaign is not quiet
    assert Judgement.objects.count() == 3
