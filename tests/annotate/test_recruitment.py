"""Participants from Prolific and Mechanical Turk: recognised, paid, screened out; their ids are for leads only."""

import uuid

import pytest
from django.test import Client

from annotate.campaigns import lifecycle, members
from annotate.desk import judging, leasing
from annotate.models import Membership, Recruitment
from tests.support.factories import make_campaign, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.database]
PROLIFIC = "?PROLIFIC_PID=5f0a&STUDY_ID=6b1c&SESSION_ID=7d2e"


@pytest.fixture
def site():
    """A campaign of three pairs for each participant, a client of a lead, and the invitation's address."""
    actor = make_user("lead", is_staff=True)
    campaign = make_campaign(slug="faces", faces=2, overlap=4, most_answers=3, consent="Agree?")
    lead = Client()
    lead.force_login(actor)
    invitation = lifecycle.create_invitation(campaign=campaign, places=4, actor=actor)
    return campaign, lead, f"/join/{invitation.token}"


def recruit(lead, **fields):
    wanted = {"service": "prolific", "completion_code": "DONE1", "screened_out_code": "OUT1"} | fields
    return lead.post("/campaigns/faces/do/recruitment", wanted, follow=True).content.decode()


def join(address: str) -> Client:
    client = Client()
    client.get(address)
    client.post(address)
    return client


def judge_all(client, campaign) -> int:
    person = Membership.objects.get(annotator_id=client.session["_auth_user_id"]).annotator
    answers = 0
    while leases := leasing.lease_items(annotator=person, campaign=campaign, depth=2):
        judging.submit_judgement(annotator=person, lease_token=leases[0].token, key=uuid.uuid4(), choice="left")
        answers += 1
    return answers


def test_participant_joins_judges_and_gets_the_code(site):
    campaign, lead, address = site
    assert "Stored." in recruit(lead, completion_url="https://app.prolific.com/submissions/complete?cc=DONE1")
    client = join(address + PROLIFIC)
    refused = client.post("/campaigns/faces/consent", {"refuse": "1"}).content.decode()
    assert "OUT1" in refused and "DONE1" not in refused
    sha256 = client.get("/campaigns/faces/begin").context["sha256"]
    client.post("/campaigns/faces/consent", {"sha256": sha256})
    page = client.get("/campaigns/faces/judge").content.decode()
    assert "0 of your 3" in page and "DONE1" not in page
    assert judge_all(client, campaign) == 3
    end = client.get("/campaigns/faces/judge").content.decode()
    assert "DONE1" in end and 'href="https://app.prolific.com/submissions/complete?cc=DONE1"' in end
    assert "5f0a" not in end
    assert "5f0a" in lead.get("/campaigns/faces/people").content.decode()
    again = join(address + PROLIFIC)  # another browser
    assert again.session["_auth_user_id"] == client.session["_auth_user_id"]
    assert Membership.objects.count() == 1


def test_removed_participant_is_forgotten_but_cannot_rejoin(site):
    campaign, lead, address = site
    recruit(lead)
    client = join(address + PROLIFIC)
    member = Membership.objects.get()
    members.remove(campaign=campaign, person=member.annotator, actor=make_user(is_staff=True))
    member.refresh_from_db()
    assert (member.external_id, member.external_study, member.external_session) == ("", "", "")
    again = Client()
    again.get(address)
    assert "You were removed" in again.post(address + PROLIFIC).content.decode()
    assert client.get("/campaigns/faces/judge").status_code == 302


@pytest.mark.parametrize(
    ("service", "query", "words"),
    [
        ("prolific", "", "PROLIFIC_PID is missing"),
        ("prolific", "?PROLIFIC_PID=%00", "PROLIFIC_PID in the link is not an id"),
        ("prolific", "?PROLIFIC_PID=ok&SESSION_ID=" + "9" * 65, "SESSION_ID in the link is not an id"),
        ("mturk", "?workerId=A1&assignmentId=ASSIGNMENT_ID_NOT_AVAILABLE", "This is a preview"),
    ],
)
def test_links_that_name_nobody_are_refused(site, service, query, words):
    _campaign, lead, address = site
    recruit(lead, service=service)
    assert words in Client().get(address + query).content.decode()
    assert not Membership.objects.exists()


def test_ids_are_not_stored_unasked(site):
    _campaign, _lead, address = site
    join(address + PROLIFIC)
    assert Membership.objects.get().external_hash == ""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"completion_url": "http://example.org/done"}, "begins with https://"),
        ({"completion_url": "javascript:alert(1)"}, "begins with https://"),
        ({"completion_code": ""}, "participants are paid by it"),
        ({"service": "other"}, "Select a valid choice"),
    ],
)
def test_unsafe_or_missing_completion_is_refused(site, fields, words):
    _campaign, lead, _address = site
    assert words in recruit(lead, **fields)
    assert not Recruitment.objects.exists()
