"""User study (App. C): two questions per pair, guests with invitation links, preference ratios with intervals."""

import csv
import io
from collections import Counter

import numpy as np
import pytest
from django.test import Client

from annotate.campaigns import lifecycle
from annotate.campaigns.lifecycle import Selection
from annotate.models import Campaign, Judgement, Lease, Preference, User
from annotate.models.campaigns import Question
from annotate.statistics.significance import binomial_two_sided
from annotate.studies.preference_ratios import StudyVote, preferred
from tests.support.factories import make_campaign, make_user

pytestmark = pytest.mark.django_db


def make_study(faces: int = 3) -> tuple[Campaign, User]:
    lead = make_user(is_staff=True)
    make_campaign(faces=faces)  # for its faces and pairs
    study = Campaign(slug="study", name="Study", kind="study", overlap=3, show_reference=True)
    lifecycle.create_campaign(
        campaign=study, selection=Selection(restorer_pairs=(("dat-light", "lanczos"),)), actor=lead
    )
    return study, lead


def take_part(campaign: Campaign, lead: User, choose) -> Client:
    """Join as a guest with a link and answer every pair through the pages."""
    guest = Client()
    link = f"/join/{lifecycle.create_invitation(campaign=campaign, places=1, actor=lead).token}"
    assert "no account and no name" in guest.get(link).content.decode()
    assert guest.post(link)["Location"] == "/campaigns/study/begin"
    while pairs := guest.get("/campaigns/study/judge").context["pairs"]:
        pair = pairs[0]
        body = {"lease": pair.lease.token, "key": pair.key, "answer": choose(pair), "seconds": 2}
        assert guest.post("/campaigns/study/answer", body).status_code == 302
    return guest


def prefer_dat(pair) -> str:
    return "left" if pair.lease.left.source == "dat-light" else "right"


@pytest.mark.database
def test_study_from_invitation_to_report(client):
    campaign, lead = make_study()
    assert campaign.item_count == 6
    take_part(campaign, lead, prefer_dat)
    take_part(campaign, lead, prefer_dat)
    take_part(campaign, lead, lambda pair: "cant_tell" if pair.question == "realism" else "left")
    third = User.objects.filter(guest=True).order_by("pk").last()
    answers = list(
        Lease.objects.filter(annotator=third)
        .order_by("closed_at")
        .values_list("item__pair", "item__question", "left_is_first")
    )
    for (pair, question, side), (next_pair, next_question, next_side) in zip(answers[::2], answers[1::2], strict=True):
        assert (pair, side) == (next_pair, next_side)
        assert (question, next_question) == (Question.FIDELITY, Question.REALISM)

    client.force_login(lead)
    page = client.get("/campaigns/study/study")
    rows = {row.question: row.found for row in page.context["study"].rows}
    counts = Counter(
        (judgement.lease.item.question, "tie" if judgement.choice == "cant_tell" else preferred_source(judgement))
        for judgement in Judgement.objects.all()
    )
    for question, found in rows.items():
        expected = tuple(counts[question, outcome] for outcome in ("dat-light", "lanczos", "tie"))
        assert (found.wins, found.losses, found.ties) == expected
    assert rows["realism"].ratio == 1
    assert rows["realism"].ties == 3
    assert "an interval needs 6 of each" in page.content.decode()
    table = list(csv.DictReader(io.StringIO(client.get("/campaigns/study/study.csv").content.decode())))
    assert [row["low"] for row in table] == ["", ""]
    assert table[1]["wins"] == "6"
    assert r"100\% vs 0\%" in client.get("/campaigns/study/study.tex").content.decode()
    assert not Preference.objects.exclude(origin="ground_truth").exists()  # study answers are not used in training


def preferred_source(judgement: Judgement) -> str:
    pair = judgement.lease.item.pair
    return (pair.first if judgement.choice == "first" else pair.second).source


def test_report_forbidden_for_annotators(client):
    campaign, _ = make_study()
    person = make_user()
    lifecycle.invite(campaign=campaign, annotators=[person])
    client.force_login(person)
    for address in ("study", "study.csv", "study.tex"):
        assert client.get(f"/campaigns/study/{address}").status_code == 403


def simulated_votes(random, participants: int, faces: int, share: float, spread: float) -> list[StudyVote]:
    """Participants differ by `spread` (of the logit), and so do faces."""
    people, images = (random.normal(0, spread, size) for size in (participants, faces))
    chance = 1 / (1 + np.exp(-(np.log(share / (1 - share)) + people[:, None] + images[None])))
    return [
        StudyVote(person, face, bool(random.random() < chance[person, face]))
        for person in range(participants)
        for face in range(faces)
    ]


def test_two_way_interval_covers_where_naive_does_not():
    random = np.random.default_rng(0)
    # Participants and faces vary, so the true ratio is the mean over the population, not the ratio of an average one.
    logits = np.log(0.75 / 0.25) + random.normal(0, 1, 200_000) + random.normal(0, 1, 200_000)
    truth = float((1 / (1 + np.exp(-logits))).mean())
    covered = naive = 0
    for _ in range(150):
        found = preferred(simulated_votes(random, 15, 30, 0.75, 1.0))
        covered += found.interval[0] <= truth <= found.interval[1]
        naive += found.naive_interval[0] <= truth <= found.naive_interval[1]
    assert covered >= 0.87 * 150  # 95% nominal, minus three standard errors and the bias for 15 people
    assert naive < 0.6 * 150


def test_sign_test_and_undefined_ratios_known_values():
    assert binomial_two_sided(15, 20) == pytest.approx(0.04139, abs=1e-5)  # published sign test table
    assert binomial_two_sided(10, 20) == 1
    found = preferred([StudyVote(person, face, None) for person in range(6) for face in range(6)])
    assert (found.ratio, found.interval, found.p_participants) == (None, None, None)
    assert found.ratio_with_halved_ties == 0.5
    assert found.why_no_interval == "all answers are “can't tell”"
