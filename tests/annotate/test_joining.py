"""Steps before the first pair: invitation, consent, tutorial, qualification."""

import uuid
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from annotate.campaigns import lifecycle
from annotate.common.refusals import Refused
from annotate.desk import judging, leasing, onboarding
from annotate.models import Campaign, Face, GuestLink, Invitation, Lease, Membership, Trial, User
from annotate.pipeline import pairing
from tests.support.factories import make_campaign, make_face, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def make_campaign_with_known_pairs(person, **fields) -> Campaign:
    campaign = make_campaign(slug="faces", members=[person], **fields)
    known = [make_face().pk for _ in range(6)]
    for _ in pairing.build_pairs(Face.objects.filter(pk__in=known)):
        pass
    return campaign


def answer_round(client, *, right: int, size: int):
    """Answer a full round through the pages, `right` of its pairs correctly. Returns the result page."""
    page = client.get("/campaigns/faces/qualification?next")
    for number in range(size):
        trial = page.context["trial"]
        photograph = "left" if trial.left.source == "hq" else "right"
        wrong = "right" if photograph == "left" else "left"
        answered = client.post(
            "/campaigns/faces/qualification",
            {"trial": trial.pk, "answer": photograph if number < right else wrong},
        )
        feedback = answered.content.decode()
        assert ("✓ Right." if number < right else "✗ Wrong.") in feedback
        assert f"The {photograph} image is the photograph." in feedback
        page = client.get("/campaigns/faces/qualification" + ("?next" if number < size - 1 else ""))
    return page


def test_first_pair_needs_consent_tutorial_qualification_in_order(client, person):
    campaign = make_campaign_with_known_pairs(
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


def test_failed_round_repeats_with_other_pairs_up_to_limit(client, person):
    campaign = make_campaign_with_known_pairs(
        person, qualification_size=4, qualification_share=0.75, qualification_rounds=2
    )
    page = answer_round(client, right=2, size=4)
    assert "2 of 4 were right; 3 are needed." in page.content.decode()
    assert "You can try once more, with other pairs." in page.content.decode()
    page = answer_round(client, right=2, size=4)
    assert "No rounds are left" in page.content.decode()
    asked = list(Trial.objects.values_list("pair", flat=True))
    assert len(asked) == len(set(asked)) == 8
    with pytest.raises(Refused, match="Pass the qualification"):
        leasing.lease_items(annotator=person, campaign=campaign)


def test_trial_keeps_first_answer(client, person):
    make_campaign_with_known_pairs(person, qualification_size=2)
    trial = client.get("/campaigns/faces/qualification").context["trial"]
    wrong = "right" if trial.left.source == "hq" else "left"
    for answer in (wrong, "left" if wrong == "right" else "right"):
        client.post("/campaigns/faces/qualification", {"trial": trial.pk, "answer": answer})
    trial.refresh_from_db()
    assert trial.choice == wrong
    assert client.post("/campaigns/faces/qualification", {"trial": trial.pk, "answer": "both"}).status_code == 409


def test_refused_consent_not_stored_and_new_text_needs_consent(client, person):
    campaign = make_campaign_with_known_pairs(person, consent="Old text")
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


def invite(campaign, places: int = 3, **fields) -> str:
    """Return the address of a new invitation link."""
    lead = make_user(is_staff=True)
    return f"/join/{lifecycle.create_invitation(campaign=campaign, places=places, actor=lead, **fields).token}"


def new_browser(link: str) -> Client:
    """Open the link in another browser, which gets its cookie."""
    browser = Client()
    browser.get(link)
    return browser


def test_invitation_places_limited_and_taken_once_per_person(client):
    link = invite(make_campaign(slug="faces"), places=2)
    guest = new_browser(link)
    guest.head(link)
    assert not Membership.objects.exists()  # neither GET nor HEAD takes a place
    guest.post(link)
    assert guest.get(link)["Location"] == "/campaigns/faces/begin"  # a returning guest continues
    person = make_user()
    client.force_login(person)
    client.post(link)
    client.post(link)
    assert set(Membership.objects.values_list("annotator__guest", "annotator__username")) == {
        (False, person.username),
        (True, User.objects.get(guest=True).username),
    }
    late = new_browser(link)
    for answer in (late.get(link), late.post(link)):
        assert answer.status_code == 409
        assert "All places" in answer.content.decode()
    assert Client().get(f"/join/{uuid.uuid4()}").status_code == 404


def test_browser_takes_one_place_and_continues_with_it(settings):
    settings.JOIN_LIMIT = 2
    link = invite(make_campaign(slug="faces"))
    browser = new_browser(link)
    for _ in range(4):
        assert browser.post(link)["Location"] == "/campaigns/faces/begin"
        browser.post("/accounts/logout/")
        assert "Continue where I left off" in browser.get(link).content.decode()
    assert (Membership.objects.count(), Invitation.objects.get().taken) == (1, 1)
    assert "does not keep cookies" in Client().post(link).content.decode()
    new_browser(link).post(link)
    refused = new_browser(link).post(link)
    assert refused.status_code == 429
    assert 590 <= int(refused["Retry-After"]) <= 600
    assert "Many people have just joined from your network. Wait 10 minutes" in refused.content.decode()
    assert browser.post(link).status_code == 302  # it has its place already
    assert Client(REMOTE_ADDR="10.0.0.7").get(link).status_code == 200
    elsewhere = Client(REMOTE_ADDR="10.0.0.7")
    elsewhere.get(link)
    assert elsewhere.post(link).status_code == 302
    assert Invitation.objects.get().taken == 3


def test_browser_of_person_with_account_gets_no_guest_place(client):
    link = invite(make_campaign(slug="faces"))
    client.force_login(make_user("ann"))
    client.get(link)
    client.cookies["browser"] = "of ann"
    client.post(link)
    client.logout()
    client.cookies["browser"] = "of ann"
    assert "Sign in to continue" in client.post(link).content.decode()
    assert Membership.objects.get().annotator.username == "ann"


def test_expired_or_revoked_invitation_takes_nobody():
    campaign = make_campaign()
    past = timezone.now() - timedelta(minutes=1)
    expired, revoked = invite(campaign, expires_at=past), invite(campaign)
    Invitation.objects.filter(token=revoked.removeprefix("/join/")).update(revoked_at=past)
    for link, words in ((expired, "has expired"), (revoked, "was revoked")):
        browser = new_browser(link)
        for answer in (browser.get(link), browser.post(link)):
            assert answer.status_code == 410
            assert words in answer.content.decode()
    assert not Membership.objects.exists()


def return_link_of(guest: Client) -> str:
    return guest.get("/accounts/").context["return_link"].removeprefix("http://testserver")


def test_newcomer_to_complete_campaign_takes_no_place(client):
    campaign = make_campaign(faces=1, slug="faces")
    link = f"/join/{lifecycle.create_invitation(campaign=campaign, places=3, actor=make_user(is_staff=True)).token}"
    assert "There are 3 comparisons." in Client().get(link).content.decode()
    first = make_user()
    lifecycle.invite(campaign=campaign, annotators=[first])
    leases = leasing.lease_items(annotator=first, campaign=campaign, depth=3)
    for lease in leases[:2]:
        judging.submit_judgement(annotator=first, lease_token=lease.token, key=uuid.uuid4(), choice="left")
    late = new_browser(link)
    for response in (late.get(link), late.post(link)):
        assert response.status_code == 409
        assert "Open this link again in 15 minutes." in response.content.decode()
    Lease.objects.filter(status="held").update(expires_at="2026-01-01T00:00Z")
    guest = Client()
    assert "There is 1 comparison." in guest.get(link).content.decode()
    guest.post(link)
    assert len(guest.get("/campaigns/faces/judge").context["pairs"]) == 1
    pair = guest.get("/campaigns/faces/judge").context["pairs"][0]
    guest.post("/campaigns/faces/answer", {"lease": pair.lease.token, "key": pair.key, "answer": "cant_tell"})
    for response in (late.get(link), late.post(link)):
        assert response.status_code == 410
        assert "“Test” is complete: every comparison has all its answers." in response.content.decode()
    assert campaign.invitations.get().taken == 1
    assert guest.get(link)["Location"] == "/campaigns/faces/begin"  # a member can return


def test_return_link_signs_in_only_its_guest(client):
    link = invite(make_campaign(slug="faces", tutorial="Read this."))
    guest = new_browser(link)
    guest.post(link)
    return_link = guest.get("/campaigns/faces/begin").context["return_link"].removeprefix("http://testserver")
    elsewhere = Client()
    elsewhere.get(return_link)
    assert elsewhere.get("/")["Location"].startswith("/accounts/login/")  # a GET signs nobody in
    elsewhere.post(return_link)
    assert "faces" in elsewhere.get("/").content.decode()
    assert Client().post(return_link[:-1] + ("A" if return_link[-1] != "A" else "B")).status_code == 404
    User.objects.update(guest=False)
    assert Client().post(return_link).status_code == 410


def test_return_link_ends_unused_and_while_campaign_is_paused():
    link = invite(make_campaign(slug="faces"))
    guest = new_browser(link)
    guest.post(link)
    return_link = return_link_of(guest)
    Campaign.objects.update(open=False)
    assert "is paused" in Client().post(return_link).content.decode()
    Campaign.objects.update(open=True)
    soon = timezone.now() + timedelta(minutes=1)
    GuestLink.objects.update(expires_at=soon)
    assert Client().post(return_link).status_code == 302
    assert GuestLink.objects.get().expires_at > soon + timedelta(days=29)  # renewed by its use
    GuestLink.objects.update(expires_at=timezone.now())
    for answer in (Client().get(return_link), Client().post(return_link)):
        assert answer.status_code == 410
        assert "This link has ended" in answer.content.decode()
    assert new_browser(link).post(link).status_code == 302


def test_image_access_for_trials_input_and_reference(client, person):
    campaign = make_campaign_with_known_pairs(person, qualification_size=2, show_input=True, show_reference=False)
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
