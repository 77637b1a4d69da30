"""Examples of the guideline: two restorations, the fault circled, chosen by a lead; opened once before judging."""

import uuid

import pytest

from annotate.campaigns import guideline_examples, lifecycle
from annotate.desk import judging, leasing
from annotate.labels.agreed_pairs import AgreedPair, agreed_pairs
from annotate.models import Campaign, Example, Pair
from tests.support.factories import make_campaign, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.database]


@pytest.fixture
def agreed():
    """A pair that two people decide by rule 3, for the first image; they disagree on all others."""
    people = [make_user("ann"), make_user("bob")]
    campaign = make_campaign(slug="judged", faces=2, overlap=2, members=people)
    pair = campaign.items.earliest("position").pair
    for number, person in enumerate(people):
        while leases := leasing.lease_items(annotator=person, campaign=campaign):
            lease = leases[0]
            is_first = lease.item.pair_id == pair.pk or number == 0
            judging.submit_judgement(
                annotator=person, lease_token=lease.token, key=uuid.uuid4(), criterion="text",
                choice="left" if is_first == lease.left_is_first else "right",
            )  # fmt: skip
    return pair


def test_agreed_pair_becomes_the_example_of_its_rule(agreed):
    assert agreed_pairs(criterion="text") == [AgreedPair(agreed.pk, "first", "text", 2)]
    assert agreed_pairs(criterion="realism") == []
    campaign = Campaign.objects.create(slug="new", name="New")
    assert guideline_examples.choose_examples(campaign=campaign) == 1
    example = campaign.examples.get(criterion="text")
    assert (example.better, example.worse) == (agreed.first, agreed.second)


def test_lead_draws_a_circle_that_annotators_see(lead, client, agreed):
    page = lead.get("/campaigns/judged/examples?rule=text").content.decode()
    assert f"pair={agreed.pk}" in page
    page = lead.get(f"/campaigns/judged/examples?rule=text&pair={agreed.pk}")
    assert page.context["form"].initial["better"] == "first"
    sent = {"criterion": "text", "pair": agreed.pk, "better": "first", "note": "Older than the text says."}
    answer = lead.post("/campaigns/judged/examples", sent | {"x": "25", "y": "40.5", "radius": "12"})
    assert answer.status_code == 302
    example = Example.objects.get()
    assert (example.worse, example.x, example.y, example.radius) == (agreed.second, 0.25, 0.405, 0.12)
    client.force_login(make_user("cid"))
    lifecycle.invite(campaign=Campaign.objects.get(slug="judged"), annotators=[make_user("dan")])
    client.force_login(Campaign.objects.get(slug="judged").members.get(username="dan"))
    shown = client.get("/campaigns/judged/guideline", headers={"Accept-Language": "de"}).content.decode()
    assert 'cx="25" cy="40.5" r="12"' in shown and "Older than the text says." in shown
    assert client.get(f"/images/{example.worse.key}").status_code in (200, 404)  # rows without files


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"x": "25"}, "A circle needs all three numbers"),
        ({"x": "101", "y": "1", "radius": "5"}, "less than or equal to 100"),
        ({"x": "nan", "y": "1", "radius": "5"}, "Enter a number"),
        ({"note": ""}, "This field is required"),
        ({"better": "left"}, "Select a valid choice"),
        ({"pair": "9223372036854775808"}, "less than or equal to"),
        ({"pair": "a\0b"}, "Enter a whole number"),
        ({"criterion": "\0"}, "Select a valid choice"),
    ],
)
def test_bad_circle_or_caption_is_refused_by_field(lead, agreed, changed, fault):
    sent = {"criterion": "text", "pair": agreed.pk, "better": "first", "note": "Look."} | changed
    answer = lead.post("/campaigns/judged/examples", sent)
    assert answer.status_code == 400
    assert fault in answer.content.decode()
    assert not Example.objects.exists()


def test_example_that_gives_an_answer_away_is_refused(lead):
    campaign = make_campaign(slug="open", faces=1)
    pair = Pair.objects.filter(items__campaign=campaign).earliest("pk")
    sent = {"criterion": "text", "pair": pair.pk, "better": "first", "note": "Look."}
    assert "still waits for answers" in lead.post("/campaigns/open/examples", sent).content.decode()
    assert "There is no pair 99" in lead.post("/campaigns/open/examples", sent | {"pair": 99}).content.decode()


def test_guideline_is_opened_once_before_the_first_pair(client):
    person = make_user("ann")
    make_campaign(slug="faces", members=[person], guideline_first=True)
    client.force_login(person)
    assert client.get("/campaigns/faces/judge")["Location"] == "/campaigns/faces/begin"
    assert client.get("/campaigns/faces/begin")["Location"] == "/campaigns/faces/guideline"
    assert "Start judging" in client.get("/campaigns/faces/guideline").content.decode()
    assert client.get("/campaigns/faces/judge").status_code == 200
