"""What comes before the first pair: invitation, consent, tutorial, qualification."""

import uuid

import pytest
from django.test import Client

from annotate.campaigns import lifecycle
from annotate.common.refusals import Refused
from annotate.desk import leasing, onboarding
from annotate.models import Campaign, Face, Membership, Trial, User
from annotate.pipeline import pairing
from tests.support.factories import make_campaign, make_face, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def person(client):
    person = make_user("ann")
    client.force_login(person)
    return person


def make_demanding(person, **fields) -> Campaign:
    campaign = make_campaign(slug="faces", members=[person], **fields)
    known = [make_face().pk for _ in range(6)]
    for _ in pairing.build_pairs(Face.objects.filter(pk__in=known)):
        pass
    return campaign


def answer_round(client, *, right: int, size: int):
    """Answer a whole round, so many of it right, as a browser does. Returns the page with the result."""
    page = client.get("/campaigns/faces/qualification?next")
    for number in range(size):
        trial = page.context["trial"]
        photograph = "left" if trial.left.source == "hq" else "right"
        wrong = "right" if photograph == "left" else "left"
        answered = client.post(
            "/campaigns/faces/qualification",
            {"trial": trial.pk, "answer": photograph if number < right else wrong},
        )
        told = answered.content.decode()
        assert ("✓ Right." if number < right else "✗ Not right.") in told
        assert f"The {photograph} image is the photograph." in told
        page = client.get("/campaigns/faces/qualification" + ("?next" if number < size - 1 else ""))
    return page


def test_consent_tutorial_and_qualification_in_this_order_before_the_first_pair(client, person):
    campaign = make_demanding(
        person, consent="May we **store** your answers?", tutorial="Look *closely*.", qualification_size=4
    )
    for step, words in (("consent", "<strong>store</strong>"), ("tutorial", "<em>closely</em>")):
        with pytest.raises(Refused, match="before the first pair"):
            leasing.lease_items(annotator=person, campaign=campaign)
        assert client.get("/campaigns/faces/judge")["Location"] == "/campaigns/faces/begin"
        page = client.get("/campaigns/faces/begin")
        assert words in page.content.decode()
        if step == "consent":
            client.post("/campaigns/faces/consent", {"sha256": page.context["sha256"]})
        else:
            client.post("/campaigns/faces/tutorial")
    assert client.get("/campaigns/faces/begin")["Location"] == "/campaigns/faces/qualification"
    page = answer_round(client, right=4, size=4)
    assert "You have passed." in page.content.decode()
    assert client.get("/campaigns/faces/judge").status_code == 200
    assert leasing.lease_items(annotator=person, campaign=campaign)


def test_a_round_that_failed_is_tried_again_with_other_pairs_until_none_is_left(client, person):
    campaign = make_demanding(person, qualification_size=4, qualification_share=0.75, qualification_rounds=2)
    page = answer_round(client, right=2, size=4)
    assert "2 of 4 were right; 3 are needed." in page.content.decode()
    assert "You can try once more, with other pairs." in page.content.decode()
    page = answer_round(client, right=2, size=4)
    assert "There is no round left" in page.content.decode()
    asked = list(Trial.objects.values_list("pair", flat=True))
    assert len(asked) == len(set(asked)) == 8
    with pytest.raises(Refused, match="Pass the qualification"):
        leasing.lease_items(annotator=person, campaign=campaign)


def test_the_first_answer_of_a_trial_stands(client, person):
    make_demanding(person, qualification_size=2)
    trial = client.get("/campaigns/faces/qualification").context["trial"]
    wrong = "right" if trial.left.source == "hq" else "left"
    for answer in (wrong, "left" if wrong == "right" else "right"):
        client.post("/campaigns/faces/qualification", {"trial": trial.pk, "answer": answer})
    trial.refresh_from_db()
    assert trial.choice == wrong
    assert client.post("/campaigns/faces/qualification", {"trial": trial.pk, "answer": "both"}).status_code == 409


def test_no_consent_stores_nothing_and_a_changed_text_is_asked_for_again(client, person):
    campaign = make_demanding(person, consent="Old text")
    old = onboarding.consent_sha256(campaign)
    assert "Nothing about you was stored" in client.post("/campaigns/faces/consent", {"refuse": "1"}).content.decode()
    assert Membership.objects.get().consented_at is None
    Campaign.objects.update(consent="New text")
    refused = client.post("/campaigns/faces/consent", {"sha256": old})
    assert "read it again" in refused.content.decode()
    campaign.refresh_from_db()
    client.post("/campaigns/faces/consent", {"sha256": onboarding.consent_sha256(campaign)})
    assert client.get("/campaigns/faces/judge").status_code == 200
    Campaign.objects.update(consent="Newer text")
    assert client.get("/campaigns/faces/judge")["Location"] == "/campaigns/faces/begin"


def test_an_invitation_gives_its_places_away_once(client):
    lead = make_user(is_staff=True)
    campaign = make_campaign(slug="faces")
    link = f"/join/{lifecycle.create_invitation(campaign=campaign, places=2, actor=lead).token}"
    guest = Client()
    guest.get(link)
    assert not Membership.objects.exists()  # looking takes no place
    guest.post(link)
    assert guest.get(link)["Location"] == "/campaigns/faces/begin"  # who comes again goes on
    person = make_user()
    client.force_login(person)
    client.post(link)
    client.post(link)
    assert set(Membership.objects.values_list("annotator__guest", "annotator__username")) == {
        (False, person.username),
        (True, User.objects.get(guest=True).username),
    }
    late = Client().post(link)
    assert late.status_code == 409
    assert "All places" in late.content.decode()
    assert Client().get(f"/join/{uuid.uuid4()}").status_code == 404


def test_a_guest_comes_back_by_their_own_link_and_nobody_else_does(client):
    lead = make_user(is_staff=True)
    campaign = make_campaign(slug="faces", tutorial="Read this.")
    guest = Client()
    guest.post(f"/join/{lifecycle.create_invitation(campaign=campaign, places=1, actor=lead).token}")
    way_back = guest.get("/campaigns/faces/begin").context["way_back"].removeprefix("http://testserver")
    elsewhere = Client()
    elsewhere.get(way_back)
    assert elsewhere.get("/")["Location"].startswith("/accounts/login/")  # looking signs nobody in
    elsewhere.post(way_back)
    assert "faces" in elsewhere.get("/").content.decode()
    assert Client().post(way_back[:-1] + ("A" if way_back[-1] != "A" else "B")).status_code == 404
    User.objects.update(guest=False)
    assert Client().post(way_back).status_code == 404


def test_pictures_of_a_qualification_input_and_reference_are_seen_by_those_they_are_for(client, person):
    campaign = make_demanding(person, qualification_size=2, show_input=True, show_reference=False)
    trial = client.get("/campaigns/faces/qualification").context["trial"]
    from annotate.desk.image_access import may_see

    assert may_see(person, trial.left)
    assert not may_see(make_user(), trial.left)
    Membership.objects.update(qualified_at="2026-01-01T00:00Z")
    face = leasing.lease_items(annotator=person, campaign=campaign)[0].item.pair.face
    shown = {
        candidate.source: may_see(person, candidate) for candidate in face.candidates.filter(source__in=["hq", "lq"])
    }
    assert shown == {"lq": True, "hq": False}
    Campaign.objects.update(show_input=False, show_reference=True)
    shown = {
        candidate.source: may_see(person, candidate) for candidate in face.candidates.filter(source__in=["hq", "lq"])
    }
    assert shown == {"lq": False, "hq": True}
