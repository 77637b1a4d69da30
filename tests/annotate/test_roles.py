"""Permissions of annotators, leads and admins, and the append-only audit log."""

import re
from pathlib import Path

import pytest
from django.db import DatabaseError, transaction
from django.urls import reverse

from annotate.common import audit_log, audit_words
from annotate.models import AuditEntry, User
from tests.support.factories import PASSWORD, make_campaign, make_user

pytestmark = pytest.mark.django_db
SITE_PAGES = ("campaign_new", "campaign_count", "preference_counts", "runs", "leaderboard", "predictors")
CAMPAIGN_PAGES = (
    *("campaign", "campaign_live", "study_report", "agreement"),
    *("campaign_people", "campaign_pairs", "campaign_settings", "campaign_log"),
)


def addresses(campaign) -> list[str]:
    return [*map(reverse, SITE_PAGES), *(reverse(name, args=[campaign.slug]) for name in CAMPAIGN_PAGES)]


@pytest.mark.parametrize("guest", [False, True], ids=["annotator", "guest"])
def test_annotators_are_refused_leads_pages_and_actions(client, guest):
    campaign, person = make_campaign(kind="study"), make_user(guest=guest)
    campaign.memberships.create(annotator=person)
    client.force_login(person)
    assert {client.get(address).status_code for address in addresses(campaign)} == {403}
    assert client.post(reverse("campaign_new"), {"name": "Mine"}).status_code == 403
    for action in ("pause", "extend", "invite", "invitation", "release", "adjudicate", "nothing"):
        assert client.post(reverse("campaign_action", args=[campaign.slug, action])).status_code == 403
    assert client.get("/admin/").status_code == 302
    assert not AuditEntry.objects.filter(actor__isnull=False).exists()
    assert "For the lead" not in client.get("/").content.decode()


def test_lead_views_everything_and_edits_only_texts(client):
    campaign, lead = make_campaign(), make_user("lead", is_staff=True)
    client.force_login(lead)
    assert {client.get(address).status_code for address in addresses(campaign)[:6]} == {200}
    for name in ("judgement", "lease", "auditentry", "preference", "face", "predictor", "campaign", "user"):
        assert client.get(f"/admin/annotate/{name}/").status_code == 200, name
    for name in ("campaign", "judgement", "auditentry", "membership", "predictor"):
        assert client.get(f"/admin/annotate/{name}/add/").status_code in (403, 404), name
    assert client.post(reverse("admin:annotate_campaign_change", args=[campaign.pk]), {"name": "x"}).status_code == 403
    edited = {
        "name": campaign.name, "guideline": "Look at the *eyes*.", "qualification_size": 0, "qualification_share": 0.8,
        "qualification_rounds": 3, "repeat_share": 0, "quiet_hours": 24, "lease_seconds": 900, "show_input": "on",
        "most_answers": 40, "overlap": 50, "slug": "other",
    }  # fmt: skip
    assert client.post(reverse("campaign_settings", args=[campaign.slug]), edited).status_code == 302
    before = campaign.overlap, campaign.slug
    campaign.refresh_from_db()
    assert (campaign.guideline, campaign.most_answers) == ("Look at the *eyes*.", 40)
    assert (campaign.overlap, campaign.slug) == before
    entry = AuditEntry.objects.get(action="edit")
    assert (entry.actor, entry.details) == (
        lead,
        {"guideline": ["", "Look at the *eyes*."], "most_answers": ["", "40"]},
    )


def test_lead_adds_annotators_and_resets_only_their_passwords(client):
    lead, ann, other = make_user("lead", is_staff=True), make_user("ann"), make_user("other", is_staff=True)
    client.force_login(lead)
    added = {"username": "bob", "password1": "eyes-and-hair-9", "password2": "eyes-and-hair-9"}
    client.post("/admin/annotate/user/add/", added | {"usable_password": "true", "is_staff": "on"})
    bob = User.objects.get(username="bob")
    assert bob.role == "annotator"
    change = f"/admin/annotate/user/{ann.pk}/change/"
    client.post(change, {"username": "ann", "is_active": "on", "is_staff": "on", "is_superuser": "on"})
    ann.refresh_from_db()
    assert ann.role == "annotator"
    new = {"password1": "skin-and-pores-7", "password2": "skin-and-pores-7", "usable_password": "true"}
    client.post(f"/admin/annotate/user/{ann.pk}/password/", new)
    ann.refresh_from_db()
    assert ann.check_password("skin-and-pores-7")
    hidden = make_user("hidden", is_superuser=True)  # an admin without access to the admin pages
    for person in (other, lead, hidden):
        refused = client.post(f"/admin/annotate/user/{person.pk}/password/", new)
        assert refused.status_code == 403
    other.refresh_from_db()
    assert other.check_password(PASSWORD)
    assert {"add-person", "reset-password"} <= set(AuditEntry.objects.values_list("action", flat=True))
    assert "skin-and-pores-7" not in str(list(AuditEntry.objects.values()))


@pytest.mark.database
def test_admin_changes_role_and_change_is_logged(client):
    boss, ann = make_user("boss", is_staff=True, is_superuser=True), make_user("ann")
    client.force_login(boss)
    change = f"/admin/annotate/user/{ann.pk}/change/"
    sent = {"username": "ann", "is_active": "on", "is_staff": "on"}
    client.post(change, sent)
    ann.refresh_from_db()
    assert ann.role == "lead"
    entry = AuditEntry.objects.get(action="change-role")
    assert (entry.actor, entry.target) == (boss, f"user {ann.pk}")
    assert entry.details["is_staff"] == ["False", "True"]


def test_admin_gives_permission_to_start_trainings(client):
    lead = make_user("lead", is_staff=True)
    client.force_login(make_user("boss", is_staff=True, is_superuser=True))
    address = f"/admin/annotate/user/{lead.pk}/change/"
    offered = client.get(address).context["adminform"].form.fields["user_permissions"].queryset
    assert [permission.codename for permission in offered] == ["start_training"]
    sent = {"username": "lead", "is_active": "on", "is_staff": "on", "user_permissions": offered.get().pk}
    assert client.post(address, sent).status_code == 302
    assert User.objects.get(pk=lead.pk).has_perm("annotate.start_training")


@pytest.mark.database
def test_audit_log_rejects_changes_and_deletions():
    entry = audit_log.record(actor=None, action="pause", target="campaign faces")
    for change in (
        lambda: AuditEntry.objects.filter(pk=entry.pk).update(action="reopen"),
        lambda: AuditEntry.objects.all().delete(),
        lambda: entry.delete(),
        lambda: AuditEntry(pk=entry.pk, action="x").save(),
    ):
        with pytest.raises(DatabaseError), transaction.atomic():
            change()
    assert AuditEntry.objects.get().action == "pause"


def test_every_recorded_action_has_words():
    recorded = set()
    for module in Path(audit_log.__file__).parents[1].rglob("*.py"):
        recorded |= set(re.findall(r'(?:actor=\S+\s+action=|_record\(user, )"([a-z-]+)"', module.read_text()))
    assert len(recorded) > 30
    assert recorded <= set(audit_words.ACTIONS)
