"""What a lead ends on the campaign's page: memberships, guests, invitation links. Answers stay."""

import uuid

import pytest
from django.test import Client

from annotate.campaigns import lifecycle
from annotate.common.refusals import Refused
from annotate.desk import image_access, judging, leasing
from annotate.models import AuditEntry, Invitation, Item, Judgement, Membership, User
from tests.annotate.test_joining import invite, new_browser, return_link_of
from tests.support.factories import make_campaign, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def act(lead, campaign, action: str, **fields) -> str:
    """Run a lead's action through the page, and return the page with its message."""
    return lead.post(f"/campaigns/{campaign.slug}/do/{action}", fields, follow=True).content.decode()


def open_slots(campaign) -> int:
    return sum(Item.objects.filter(campaign=campaign).values_list("open_slots", flat=True))


def test_removed_member_loses_access_and_answers_stay(lead):
    ann = make_user("ann")
    campaign = make_campaign(slug="faces", members=[ann])
    held = leasing.lease_items(annotator=ann, campaign=campaign, depth=3)
    key = uuid.uuid4()
    judging.submit_judgement(annotator=ann, lease_token=held[0].token, key=key, choice="left")
    before = open_slots(campaign)
    page = act(lead, campaign, "remove", person=ann.pk)
    assert "ann was removed. All answers are kept" in page
    assert "removed on" in page
    assert open_slots(campaign) == before + 2  # the held items are free for others
    assert "1 of 6" in lead.get("/campaigns/faces/").content.decode()  # the answer still counts
    assert Judgement.objects.count() == 1
    own = Client()
    own.force_login(ann)
    for address in ("judge", "history", "guideline", "begin"):
        assert own.get(f"/campaigns/faces/{address}").status_code == 404
    assert "faces" not in own.get("/").content.decode()
    assert own.get("/api/v1/campaigns").json() == []
    for method, path in (("post", "next"), ("get", "history"), ("get", "progress"), ("post", "undo")):
        refused = getattr(own, method)(f"/api/v1/campaigns/faces/{path}", content_type="application/json")
        assert (refused.status_code, refused.json()["code"]) == (403, "not_a_member")
    assert not image_access.may_see(ann, held[0].left)
    with pytest.raises(Refused):
        judging.submit_judgement(annotator=ann, lease_token=held[1].token, key=uuid.uuid4(), choice="left")
    assert judging.submit_judgement(annotator=ann, lease_token=held[0].token, key=key, choice="left")[1] is False
    act(lead, campaign, "readmit", person=ann.pk)
    assert own.get("/campaigns/faces/judge").status_code == 200
    act(lead, campaign, "remove", person=ann.pk)
    act(lead, campaign, "invite", people=[ann.pk])
    assert own.get("/campaigns/faces/judge").status_code == 200
    actions = list(AuditEntry.objects.filter(actor__username="lead").values_list("action", flat=True))
    assert [action for action in actions if "member" in action] == ["remove-member", "readmit-member", "remove-member"]


def test_removed_guest_is_signed_out_and_unused_place_is_free(lead):
    campaign = make_campaign(slug="faces")
    link = invite(campaign, places=1)
    guest = new_browser(link)
    guest.post(link)
    return_link = return_link_of(guest)
    page = act(lead, campaign, "remove", person=User.objects.get(guest=True).pk)
    assert "The place of the invitation link is free again." in page
    assert guest.get("/")["Location"].startswith("/accounts/login/")
    assert Client().post(return_link).status_code == 410
    assert guest.post(link).status_code == 302  # this browser may take the place that became free
    second = User.objects.filter(guest=True).latest("pk")
    assert User.objects.filter(guest=True).count() == 2
    lease = leasing.lease_items(annotator=second, campaign=campaign)[0]
    judging.submit_judgement(annotator=second, lease_token=lease.token, key=uuid.uuid4(), choice="left")
    assert "is free again" not in act(lead, campaign, "remove", person=second.pk)  # it was used
    assert Invitation.objects.get().taken == 1
    assert guest.post(link).status_code == 403
    assert "You were removed" in guest.post(link).content.decode()
    page = act(lead, campaign, "readmit", person=second.pk)
    assert f"The new return link of {second.username}, to pass on: http://testserver/return/" in page
    assert guest.post(link).status_code == 302


def test_new_return_link_ends_the_old_one_and_sessions(lead):
    campaign = make_campaign(slug="faces")
    link = invite(campaign)
    guest = new_browser(link)
    guest.post(link)
    old, person = return_link_of(guest), User.objects.get(guest=True)
    page = act(lead, campaign, "return-link", person=person.pk)
    new = page.partition("to pass on: http://testserver")[2].split("<")[0].strip()
    assert guest.get("/")["Location"].startswith("/accounts/login/")
    assert Client().post(old).status_code == 410
    assert Client().post(new).status_code == 302
    ann = make_user("ann")
    lifecycle.invite(campaign=campaign, annotators=[ann])
    assert "has an account with a password" in act(lead, campaign, "return-link", person=ann.pk)


def test_revoked_invitation_is_closed_and_its_takers_are_listed(lead):
    campaign = make_campaign(slug="faces")
    link = invite(campaign)
    new_browser(link).post(link)
    invitation = Invitation.objects.get()
    other = invite(make_campaign(slug="others"))
    page = act(lead, campaign, "revoke", invitation=Invitation.objects.get(token=other.removeprefix("/join/")).pk)
    assert "Nothing was done" in page  # another campaign's link
    page = act(lead, campaign, "revoke", invitation=invitation.pk)
    assert link not in page
    assert f"Taken by guest-{invitation.pk}-1" in " ".join(page.split()).replace("</p>", "").replace(
        '<p class="quiet">', ""
    )
    assert new_browser(link).get(link).status_code == 410
    assert Membership.objects.current().filter(campaign=campaign).count() == 1
    assert AuditEntry.objects.filter(action="revoke-invitation", target="campaign faces").count() == 1


def test_action_on_foreign_person_changes_nothing(lead):
    campaign, stranger = make_campaign(slug="faces"), make_user("stranger")
    for action in ("remove", "readmit", "return-link"):
        for person in (stranger.pk, "x", 10**30):
            assert "Nothing was done" in act(lead, campaign, action, person=person)
    stranger.refresh_from_db()
    assert stranger.is_active
