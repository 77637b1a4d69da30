"""German pages of campaigns, studies and the predictor, compared with the English ones."""

import random
import uuid
from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone, translation

from annotate.campaigns import guideline_examples, lifecycle
from annotate.campaigns.lifecycle import Selection
from annotate.desk import judging, leasing
from annotate.models import (
    Campaign,
    Candidate,
    Example,
    GoldSet,
    Invitation,
    LabelPolicy,
    LearningCurve,
    Lease,
    Predictor,
    Restorer,
    Score,
)
from annotate.models.campaigns import Criterion
from annotate.pipeline import scoring
from annotate.predictor.learning_curve_words import summary
from annotate.statistics.annotator_checks import Behaviour, flags
from tests.support.factories import make_campaign, make_user
from tests.support.page_phrases import untranslated

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _english_again():
    """A German request leaves its language active in this thread."""
    with translation.override("en"):
        yield


GERMAN = {"Accept-Language": "de-DE,de;q=0.9"}
# Names of people, campaigns, restorers, metrics and files, and words that are the same in German.
DATA = {
    *("Amazon Mechanical Turk", "Prolific"),
    *("DiffusionReward", "lead", "ann", "bob", "simon", "guest-9-1", "Test", "Study", "Deutsch", "English", "Admin"),
    *("dat-light", "lanczos", "realesrgan-x4plus", "OSEDiff", "DiffBIR", "ours", "vs"),
    *("LPIPS", "DISTS", "PSNR", "SSIM", "NIQE", "MUSIQ", "MANIQA", "CLIP-IQA", "TOPIQ", "ssim", "psnr", "lpips", "rbf"),
    *("SVM", "MLP", "Labels", "Name", "Text", "Version", "UTC", "CSV", "LaTeX", "http", "testserver", "join"),
}  # fmt: skip


def same_in_german(client, address: str, data: set[str] = frozenset(), **fields) -> list[str]:
    """Return what a page says in English although the reader asks for German."""
    english, german = (client.get(address, fields, headers=headers) for headers in ({}, GERMAN))
    assert english.status_code == german.status_code
    # From rewardlab, which is not translated: titles of metrics and what to do where one is unavailable.
    metrics = {
        text.rstrip(".)") for row in scoring.metric_coverage() for text in (row["metric"].title, row["remedy"] or "")
    }
    links = {invitation.token.strip("-_") for invitation in Invitation.objects.all()}
    return untranslated(english.content.decode(), german.content.decode(), (DATA | data | metrics | links) - {""})


def german(client, address: str, **fields) -> str:
    return client.post(address, fields, headers=GERMAN, follow=True).content.decode()


def answer_all(annotator, campaign, choose, seconds: float = 2.0) -> None:
    while leases := leasing.lease_items(annotator=annotator, campaign=campaign, depth=1):
        judging.submit_judgement(
            annotator=annotator,
            lease_token=leases[0].token,
            key=uuid.uuid4(),
            choice=choose(leases[0]),
            seconds=seconds,
        )


def by_first(lease) -> str:
    return "left" if lease.left_is_first else "right"


def make_version(labels: int, **fields) -> Predictor:
    return Predictor.objects.create(
        **{
            "status": "ready",
            "labels": labels,
            "simulated_labels": 3,
            "cv_accuracy": 0.7 + labels / 1000,
            "cv_low": 0.6,
            "cv_high": 0.9,
            "baseline_accuracy": 0.55,
            "pairs_labelled": 900,
            "pairs_abstained": 40,
            "features": ["ssim", "psnr"],
            "parameters": {"svc__kernel": "rbf"},
            "ready_at": timezone.now(),
        }
        | fields
    )


def make_audit(*, chosen: bool) -> dict:
    levels = [
        {"coverage": share, "pairs": int(100 * share), "errors": int(10 * share), "error": 0.1 * share,
         "bound": 0.2 * share, "least_margin": 0.5 - share / 2}
        for share in (0.5, 1.0)
    ]  # fmt: skip
    return {
        "levels": levels, "chosen": levels[0] if chosen else None, "confidence": 0.95, "audit_share": 0.2, "pairs": 100,
        "ties": 4, "unscored": 2, "simulated": True, "least_pairs": 29,
    }  # fmt: skip


def make_curve(*, simulated: int) -> LearningCurve:
    titles = {
        "svm": "SVM", "mlp3": "MLP (3-layer)", "mlp4": "MLP (4-layer)", "tree": "gradient-boosted tree",
        "constant-order": "constant order of restorers",
    }  # fmt: skip
    points = [
        {"method": method, "title": title, "labels": labels, "share": labels / 80, "accuracy": 0.7, "low": 0.6,
         "high": 0.8}
        for labels in (40, 80)
        for method, title in titles.items()
    ]  # fmt: skip
    gains = {"svm": (0.05, 0.01), "mlp3": (0.0, -0.01), "tree": (-0.05, -0.09)}
    doublings = [
        {"method": method, "title": titles[method], "gain": gain, "low": low, "high": gain + 0.02}
        for method, (gain, low) in gains.items()
    ]
    results = {
        "points": points, "doublings": doublings, "labels": 80, "simulated": simulated, "metrics": ["ssim"],
        "paper": {"SVM": 0.8, "MLP (3-layer)": 0.7, "gradient-boosted tree": 0.6},
    }  # fmt: skip
    return LearningCurve.objects.create(results=results)


@pytest.fixture
def campaign(lead) -> Campaign:
    """A campaign in use: members of every kind, flags, held items, disputes, an invitation, a log, two versions."""
    ann, bob = make_user("ann"), make_user("bob")
    people = (ann, bob, make_user("simon", simulated=True), make_user("guest-9-1", guest=True))
    campaign = make_campaign(faces=10, overlap=2, members=people, repeat_share=0.3, order="uncertain")
    answer_all(ann, campaign, by_first)
    answer_all(bob, campaign, lambda lease: "left", seconds=0.3)
    lifecycle.extend_overlap(campaign=campaign, by=1)
    leasing.lease_items(annotator=people[2], campaign=campaign, depth=3)
    lifecycle.create_invitation(
        campaign=campaign, places=5, expires_at=timezone.now() + timedelta(days=3), actor=campaign.members.first()
    )
    times = Lease.objects.filter(status="answered").order_by("pk")
    for number, lease in enumerate(times):
        Lease.objects.filter(pk=lease.pk).update(closed_at=timezone.now() - timedelta(minutes=10 + number))
    make_version(20)
    make_version(40)
    return campaign


# Campaigns


def test_home_page_german(lead):
    campaign = make_campaign(faces=1, members=(make_user("ann"),), quiet_hours=2)
    Campaign.objects.filter(pk=campaign.pk).update(created_at=timezone.now() - timedelta(days=2))
    answered = make_campaign(faces=1, members=(make_user("bob"),))
    answer_all(answered.members.get(), answered, by_first)
    make_campaign(faces=1, open=False)
    assert same_in_german(lead, "/") == []


def test_campaign_in_use_german(lead, campaign):
    campaign_page = reverse("campaign", args=[campaign.slug])
    for tab in ("campaign", "campaign_people", "campaign_pairs", "campaign_settings", "campaign_log"):
        known = {
            campaign.slug,
            *("dat-light", "lanczos", "realesrgan-x4plus"),
            *campaign.members.values_list("username", flat=True),
        }
        assert same_in_german(lead, reverse(tab, args=[campaign.slug]), known) == []
    pairs = reverse("campaign_pairs", args=[campaign.slug])
    assert same_in_german(lead, f"{pairs}?pair=99999999", {campaign.slug}) == []
    accounts = reverse("campaign_accounts", args=[campaign.slug])
    assert "Konten zum Weitergeben" in german(lead, accounts, names="neu", how="passwords")
    assert "Zeile 2: „neu“ steht schon in Zeile 1" in german(lead, accounts, names="neu\nneu", how="links")
    assert same_in_german(lead, reverse("campaign_live", args=[campaign.slug])) == []
    Campaign.objects.update(created_at=timezone.now() - timedelta(days=3), open=False, order="balanced")
    assert same_in_german(lead, reverse("campaign_live", args=[campaign.slug])) == []
    assert same_in_german(lead, campaign_page) == []
    assert same_in_german(lead, reverse("preference_counts")) == []


def test_campaign_with_disputes_german(lead, campaign):
    Campaign.objects.filter(pk=campaign.pk).update(overlap=2)
    campaign.items.update(open_slots=0)
    campaign.refresh_from_db()
    address = reverse("campaign_action", args=[campaign.slug, "adjudicate"])
    page = german(lead, address, **{"adjudicate-people": [campaign.members.get(username="simon").pk]})
    assert "Die Antworten darin ersetzen die strittigen." in page
    adjudication = Campaign.objects.get(adjudicates=campaign)
    assert adjudication.name == "Test: Schlichtung"
    codes = {"adjudicate", "invite", "extend-overlap", "create-invitation", "Schlichtung", "annotators"}
    codes |= {"campaign", "items", "places", "by", "adjudication"}
    codes |= {campaign.slug, adjudication.slug}
    for one in (campaign, adjudication):
        assert same_in_german(lead, reverse("campaign", args=[one.slug]), codes) == []


def test_campaign_without_members_and_gold_set_german(lead):
    empty = make_campaign(faces=1, kind="study", order="uncertain", quiet_hours=1)
    Campaign.objects.filter(pk=empty.pk).update(created_at=timezone.now() - timedelta(days=2))
    assert same_in_german(lead, reverse("campaign", args=[empty.slug]), {"invite", "annotators"}) == []
    gold = GoldSet.objects.create(campaign=make_campaign(faces=1), seed=0, pairs_sha256="0" * 64)
    address = reverse("campaign", args=[gold.campaign.slug])
    assert same_in_german(lead, address, {"invite", "annotators"}) == []
    GoldSet.objects.update(frozen_at=timezone.now(), answers_sha256="0" * 64)
    assert same_in_german(lead, address, {"invite", "annotators"}) == []
    assert "Gold-Set ist eingefroren" in german(lead, reverse("campaign_action", args=[gold.campaign.slug, "reopen"]))


def test_new_campaign_form_german(lead):
    make_campaign(faces=2, members=(make_user("ann"),))
    address = reverse("campaign_new")
    assert same_in_german(lead, address) == []
    assert "Berichtigen Sie die markierten Felder" in (page := german(lead, address, name="New", slug="new"))
    assert "ist für eine Seite reserviert" in page
    assert "Wählen Sie Trainings-, Gold- oder Testgesichter." in page
    count = reverse("campaign_count")
    assert same_in_german(lead, count) == []
    assert same_in_german(lead, count, splits=["train"], overlap="2") == []
    assert same_in_german(lead, count, splits=["train"], overlap="100", pairs=9) == []
    assert same_in_german(lead, count, splits=["gold"]) == []
    assert same_in_german(lead, count, splits=["train"], kind="study", participants=5) == []


def test_actions_answered_in_german(lead):
    ann = make_user("ann")
    campaign = make_campaign(faces=2, members=(ann,))
    bob = make_user("bob")

    def act(action: str, **fields) -> str:
        return german(lead, reverse("campaign_action", args=[campaign.slug, action]), **fields)

    assert "Eingeladen: bob." in act("invite", people=[bob.pk])
    assert "Jedes Paar wird nun von 3 Annotierenden beantwortet." in act("extend", by=2)
    assert "freigegebene Aufgaben: 0." in act("release", annotator=ann.pk)
    assert "Einladungslink angelegt" in act("invitation", places=5, days=7)
    assert "Es ist Platz für 13 weitere." in act("invitation", places=14, days=7)
    assert "Angehalten: Bis Sie die Kampagne wieder öffnen" in act("pause")
    assert "Wieder geöffnet." in act("reopen")
    assert "Nichts wurde getan: Wählen Sie mindestens eine Person." in act("invite")
    assert "Es gibt keine strittigen Aufgaben" in act("adjudicate", **{"adjudicate-people": [ann.pk]})


def test_flags_all_translated():
    found = {
        1: Behaviour(answered=100, left=90, sided=100, switches=10, timed=50, too_fast=40, repeats=50, consistent=5,
                     compared=50, with_others=5),
        2: Behaviour(answered=100, left=50, sided=100, switches=95, repeats=50, consistent=45, compared=50,
                     with_others=45),
        3: Behaviour(repeats=50, consistent=45, compared=50, with_others=45),
    }  # fmt: skip
    english = [flag.words for own in flags(found).values() for flag in own]
    with translation.override("de"):
        in_german = [flag.words for own in flags(found).values() for flag in own]
    assert len(english) == 6
    assert not set(english) & set(in_german)


def test_guideline_examples_stored_in_english_shown_in_german(lead, client):
    campaign = make_campaign(faces=4)
    Restorer.objects.filter(name="lanczos").update(kind="classical")
    rng = random.Random(0)
    for candidate in Candidate.objects.filter(restorer__isnull=False):
        for metric in ("niqe", "lpips", "ssim"):
            Score.objects.create(candidate=candidate, metric=metric, value=rng.random())
    with translation.override("de"):
        assert guideline_examples.choose_examples(campaign=campaign) == 2
    assert all(note.isascii() or "“" in note for note in Example.objects.values_list("note", flat=True))
    address = reverse("guideline", args=[campaign.slug])
    captions = set(Example.objects.values_list("worse__face__caption", flat=True))
    assert same_in_german(lead, address, captions) == []
    Example.objects.filter(criterion=Criterion.DETAIL).update(note="Compare the eyebrows.")
    assert same_in_german(lead, address, captions) == ["Compare the eyebrows."]


# Predictor


def test_predictor_page_german(lead):
    assert same_in_german(lead, reverse("predictors")) == []
    program = make_user("program", simulated=True)
    answer_all(program, make_campaign(faces=1, members=[program]), by_first)
    assert same_in_german(lead, reverse("predictors")) == []
    LabelPolicy.objects.update(count_simulated=True)
    make_version(10, status="failed", error="OSError", cv_accuracy=None, baseline_accuracy=None)
    make_version(20, status="withdrawn", audit=make_audit(chosen=False), max_error=0.1)
    version = make_version(40, audit=make_audit(chosen=True), max_error=0.1)
    make_version(50, status="fitting")
    make_curve(simulated=5)
    assert same_in_german(lead, reverse("predictors"), {"OSError"}) == []
    LabelPolicy.objects.update(max_error=0.05, pinned=version)
    Predictor.objects.filter(pk=version.pk).update(audit=make_audit(chosen=False))
    LearningCurve.objects.all().delete()
    curve = make_curve(simulated=0)
    assert same_in_german(lead, reverse("predictors"), {"OSError"}) == []
    Predictor.objects.filter(pk=version.pk).update(max_error=None)
    curve.results["doublings"] = []
    curve.save()
    assert same_in_german(lead, reverse("predictors"), {"OSError"}) == []
    with translation.override("en"):
        assert summary(curve)[0] == "80 labels; metrics ssim."  # what the command prints


# Studies


def test_study_report_german_and_its_files_unchanged(lead):
    make_campaign(faces=6)
    study = Campaign(slug="study", name="Study", kind="study", overlap=7, show_reference=True)
    lifecycle.create_campaign(
        campaign=study, selection=Selection(restorer_pairs=(("dat-light", "lanczos"),)), actor=make_user("ann")
    )
    address = reverse("study_report", args=["study"])
    assert same_in_german(lead, address) == []
    people = [make_user(f"guest{n}", guest=True, simulated=n == 0) for n in range(7)]
    names = {person.username for person in people}
    lifecycle.invite(campaign=study, annotators=people)
    answer_all(people[0], study, lambda lease: "cant_tell")
    assert same_in_german(lead, f"{address}?simulated=include", names) == []
    for person in people[1:]:
        answer_all(person, study, by_first)
    for query in ("", "?simulated=include"):
        assert same_in_german(lead, f"{address}{query}", names) == []
    for form in ("csv", "tex"):
        english, other = (
            lead.get(reverse("study_table", args=["study", form]), headers=headers).content for headers in ({}, GERMAN)
        )
        assert english == other


# Errors


def test_refusals_and_error_pages_german(client):
    person = make_user("ann")
    campaign = make_campaign(faces=1, members=(person,))
    client.force_login(person)
    for name, args in (
        *((name, []) for name in ("campaign_new", "campaign_count", "preference_counts", "runs", "leaderboard")),
        *((name, [campaign.slug]) for name in ("campaign", "campaign_live", "study_report", "agreement")),
        ("predictors", []),
    ):
        assert client.get(reverse(name, args=args)).status_code == 403
        assert same_in_german(client, reverse(name, args=args)) == []
    assert same_in_german(client, "/nowhere") == []
    assert client.get("/api/nowhere", headers=GERMAN).json()["detail"] == "Unter dieser Adresse ist nichts."
    large = client.post("/", "x" * 1_100_000, content_type="text/plain", headers=GERMAN)
    assert large.content.decode() == "Die Anfrage ist zu groß: Die Grenze ist ein Megabyte."
