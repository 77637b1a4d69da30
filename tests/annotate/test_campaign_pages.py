"""The tabs of a campaign's page, the list of campaigns, accounts in bulk, and the limit of answers per person."""

import re
import uuid

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from annotate.campaigns import lifecycle
from annotate.common.refusals import Refused
from annotate.desk import judging, leasing
from annotate.models import AuditEntry, Campaign, GoldSet, User
from tests.support.factories import make_campaign, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def page_of(client, campaign, tab: str = "", **query) -> str:
    return client.get(f"/campaigns/{campaign.slug}/{tab}", query).content.decode()


def judge(person, campaign, choice, *, answers: int = 1000, criterion=None, **more) -> int:
    """Answer up to `answers` pairs with `choice` (of a lease); return how many were given."""
    for given in range(answers):
        held = leasing.lease_items(annotator=person, campaign=campaign)
        if not held:
            return given
        judging.submit_judgement(
            annotator=person,
            lease_token=held[0].token,
            key=uuid.uuid4(),
            choice=choice(held[0]),
            criterion=criterion,
            **more,
        )
    return answers


def first(lease) -> str:
    return "left" if lease.left_is_first else "right"


def second(lease) -> str:
    return "right" if lease.left_is_first else "left"


def queries_of(client, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


# The next step


def next_step_of(lead, campaign) -> str:
    return re.findall(r'<h2 id="next-step">(.*?)</h2>', page_of(lead, campaign))[0]


def test_overview_names_what_the_campaign_needs_next(lead):
    actor, ann, bob = User.objects.get(username="lead"), make_user("ann"), make_user("bob")
    campaign = make_campaign(faces=2, overlap=2)
    assert next_step_of(lead, campaign) == "Invite annotators"
    lifecycle.create_invitation(campaign=campaign, places=3, actor=actor)
    assert next_step_of(lead, campaign) == "Pass on the invitation link"
    lifecycle.invite(campaign=campaign, annotators=[ann, bob])
    assert next_step_of(lead, campaign) == "Waiting for the first answers"
    judge(ann, campaign, first)
    assert next_step_of(lead, campaign) == "Answers are coming in"
    lifecycle.set_open(campaign=campaign, is_open=False)
    assert next_step_of(lead, campaign) == "Paused"
    lifecycle.set_open(campaign=campaign, is_open=True)
    campaign.invitations.all().delete()
    Campaign.objects.filter(pk=campaign.pk).update(most_answers=6)
    campaign.memberships.update(answered=6)
    campaign.memberships.filter(annotator=bob).update(answered=5)
    assert next_step_of(lead, campaign) == "Answers are coming in"
    Campaign.objects.filter(pk=campaign.pk).update(most_answers=5)
    assert next_step_of(lead, campaign) == "Everyone has given their most answers"


def test_finished_campaign_has_a_next_step(lead):
    ann, bob = make_user("ann"), make_user("bob")
    campaign = make_campaign(faces=1, overlap=2, members=(ann, bob))
    judge(ann, campaign, first)
    judge(bob, campaign, first)
    assert next_step_of(lead, campaign) == "Finished"
    page = page_of(lead, campaign)
    assert "See the agreement" in page and "See the SVM and its labels" in page
    assert "nothing" not in page
    judging.undo_last(annotator=bob, campaign=campaign)
    judge(bob, campaign, second)
    assert next_step_of(lead, campaign) == "Create an adjudication"
    lifecycle.adjudicate(campaign=campaign, adjudicators=[ann], actor=ann)
    assert next_step_of(lead, campaign) == "Finished"
    gold = GoldSet.objects.create(campaign=campaign, seed=0, pairs_sha256="0" * 64)
    assert next_step_of(lead, campaign) == "Freeze the gold set"
    assert reverse("job_new", args=["freeze_gold"]) in page_of(lead, campaign)
    GoldSet.objects.filter(pk=gold.pk).update(frozen_at=campaign.created_at, answers_sha256="0" * 64)
    assert "The gold set is frozen." in page_of(lead, campaign)


def test_campaign_list_has_no_query_per_campaign(lead):
    person = User.objects.get(username="lead")
    for number in range(2):
        make_campaign(faces=1, members=(person, make_user()), name=f"Old {number}")
    few = queries_of(lead, "/campaigns/")
    for number in range(6):
        judge(person, make_campaign(faces=1, members=(person, make_user()), name=f"New {number}"), first, answers=1)
    assert queries_of(lead, "/campaigns/") == few
    page = lead.get("/campaigns/").content.decode()
    assert page.count("Browse the pairs") == 8
    assert "1 in the last hour" in page


# The pairs


def test_pair_list_filters_by_annotator_answer_rule_and_agreement(lead):
    ann, bob = make_user("ann"), make_user("bob")
    campaign = make_campaign(faces=2, overlap=2, members=(ann, bob))

    def shown(**query) -> int:
        response = lead.get(f"/campaigns/{campaign.slug}/pairs", query)
        assert response.status_code == 200
        return len(response.context["pairs"])

    assert shown() == shown(show="open") == 6
    judge(ann, campaign, first, answers=6, criterion="detail")
    judge(bob, campaign, first, answers=1, criterion="detail")
    judge(bob, campaign, second, answers=1, criterion="text", note="odd <ears>")
    assert shown() == shown(show="answered") == 6
    assert shown(show="open") == 0
    assert shown(show="disputed") == 1
    assert shown(show="agreed") == 1
    assert shown(annotator=bob.pk) == 2
    assert shown(annotator=bob.pk, answer="second") == shown(rule="text") == 1
    assert shown(annotator=ann.pk, rule="text") == 0
    assert shown(answer="first", rule="detail") == 6
    page = page_of(lead, campaign, "pairs", show="disputed")
    assert "ann: A is better · Detail" in page and "bob: B is better · Text" in page
    assert "<q>odd &lt;ears&gt;</q>" in page
    assert lead.get(f"/campaigns/{campaign.slug}/pairs", {"annotator": "nobody"}).status_code == 400


def test_pair_list_pages_cover_all_pairs_without_query_per_row(lead):
    ann = make_user("ann")
    campaign = make_campaign(faces=17, members=(ann,))  # 51 pairs
    judge(ann, campaign, first, answers=3)
    address, seen = f"/campaigns/{campaign.slug}/pairs", []
    counts = []
    while address:
        with CaptureQueriesContext(connection) as queries:
            context = lead.get(address).context
        counts.append(len(queries))
        seen += [listed.item.pk for listed in context["pairs"]]
        address = context["next"] and f"/campaigns/{campaign.slug}/pairs{context['next']}"
    assert len(seen) == len(set(seen)) == 51
    assert len(counts) == 3 and max(counts) == min(counts)


# The log


def test_log_names_people_and_settings(lead):
    ann, bob = make_user("ann"), make_user("bob")
    campaign = make_campaign(faces=1)
    lead.post(f"/campaigns/{campaign.slug}/do/invite", {"people": [ann.pk, bob.pk]})
    form = dict(lead.get(f"/campaigns/{campaign.slug}/settings").context["form"].initial)
    form |= {"quiet_hours": 7, "guideline": "Look. " * 40, "most_answers": ""}
    assert (
        "The settings are stored."
        in lead.post(f"/campaigns/{campaign.slug}/settings", form, follow=True).content.decode()
    )
    page = page_of(lead, campaign, "log")
    assert re.search(r"people:</span> ann, bob", page)
    assert "changed the settings" in page and "Quiet hours:</span> “24” → “7”" in page
    assert "empty → text of 239 characters" in page
    admin_list = lead.get("/admin/annotate/auditentry/").content.decode()
    assert "people: ann, bob" in admin_list
    for _ in range(4):
        lead.post(f"/campaigns/{campaign.slug}/do/invite", {"people": [ann.pk, make_user().pk]})
    lead.get("/")  # shows the messages that wait
    addresses = ("/admin/annotate/auditentry/", f"/campaigns/{campaign.slug}/log")
    before = [queries_of(lead, address) for address in addresses]
    lifecycle.invite(campaign=campaign, annotators=[make_user(), make_user()])
    assert [queries_of(lead, address) for address in addresses] == before


# Accounts in bulk


def bulk(lead, campaign, names: str, how: str = "passwords"):
    return lead.post(f"/campaigns/{campaign.slug}/people/accounts", {"names": names, "how": how})


def test_accounts_from_list_get_passwords_shown_once(lead):
    ann = make_user("ann")
    campaign = make_campaign(faces=1)
    response = bulk(lead, campaign, "ann\n\n carla \r\ndev\n")
    assert response["Cache-Control"] == "no-store"
    handed_out = {one.person.username: one.password for one, _ in response.context["rows"]}
    assert handed_out["ann"] == "" and "had an account, invited" in response.content.decode()
    assert Client().login(username="carla", password=handed_out["carla"])
    assert set(campaign.members.values_list("username", flat=True)) == {"ann", "carla", "dev"}
    assert handed_out["dev"] not in page_of(lead, campaign, "people")
    stored = str(list(AuditEntry.objects.values_list("details", flat=True)))
    assert handed_out["dev"] not in stored and str(ann.pk) in stored


def test_guests_from_list_sign_in_by_their_link(lead):
    campaign = make_campaign(faces=1)
    rows = bulk(lead, campaign, "eva\nfay", "links").context["rows"]
    guest = Client()
    guest.get(rows[0][1])
    guest.post(rows[0][1])
    assert guest.get(f"/campaigns/{campaign.slug}/judge").status_code == 200
    assert User.objects.get(username="fay").guest


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("new\nann\nnew", "line 3: “new” is in line 1 already"),
        ("new\nNew", "line 2: “New” is in line 1 already"),
        ("new\nANN", "line 2: “ANN” differs from the account “ann” only by capital letters"),
        ("new\nAnn Meyer", "line 2: “Ann Meyer” is not a valid name"),
        ("new\nleft", "line 2: the account “left” is deactivated"),
        ("new\nprogram", "line 2: “program” is a simulated or imported annotator"),
        ("new\n" + "x" * 151, "line 2: the name has 151 characters"),
        ("\n".join(f"new{n}" for n in range(51)), "The list has 51 names; at most 50"),
        ("\n \n", "Enter at least one name"),
    ],
)
def test_faulty_list_creates_nobody_and_names_the_line(lead, names, words):
    make_user("ann")
    make_user("left", is_active=False)
    make_user("program", simulated=True)
    campaign = make_campaign(faces=1)
    known = User.objects.count()
    response = bulk(lead, campaign, names)
    assert response.status_code == 400
    assert words in response.context["bulk"].errors["names"][0]
    assert User.objects.count() == known and not campaign.memberships.exists()


# Answers per person


def test_nobody_is_given_more_than_the_limit(client):
    ann, bob = make_user("ann"), make_user("bob")
    campaign = make_campaign(faces=3, members=(ann, bob), most_answers=4)  # 9 pairs
    assert len(leasing.lease_items(annotator=ann, campaign=campaign, depth=9)) == 4
    assert judge(ann, campaign, first) == 4
    client.force_login(ann)
    assert "You have given all 4 answers" in client.get(f"/campaigns/{campaign.slug}/judge").content.decode()
    assert "Done, thank you" in client.get("/").content.decode()
    judging.undo_last(annotator=ann, campaign=campaign)
    assert judge(ann, campaign, first) == 1
    assert judge(bob, campaign, first) == 4
    campaign.refresh_from_db()
    assert campaign.items.filter(open_slots=1).count() == 1


def test_finished_campaign_is_finished_on_every_page(lead):
    ann, person = make_user("ann"), User.objects.get(username="lead")
    campaign = make_campaign(faces=1, members=(ann, person))
    judge(ann, campaign, first)
    for address in ("/campaigns/", f"/campaigns/{campaign.slug}/"):
        assert '<span class="badge good">Finished</span>' in lead.get(address).content.decode(), address
    own = lead.get("/campaigns/").content.decode()
    assert "Nothing for you to judge here" in own and "Done, thank you" not in own
    assert "There is nothing for you to judge here." in lead.get(f"/campaigns/{campaign.slug}/judge").content.decode()


# Creating a campaign


def test_more_pairs_than_exist_are_refused_before_creation(lead):
    make_campaign(faces=2)
    form = {
        "splits": ["train"], "name": "All", "kind": "preference", "overlap": 1, "order": "balanced", "pairs": 99_999,
        "random_share": 0.2, "repeat_share": 0, "qualification_size": 0, "qualification_share": 0.8,
        "qualification_rounds": 3, "quiet_hours": 24, "lease_seconds": 900,
    }  # fmt: skip
    words = "Only 6 pairs match this selection, not 99,999."
    assert words in lead.get("/campaigns/count", form).content.decode()
    response = lead.post("/campaigns/new", form)
    assert words in response.context["selection"].errors["pairs"][0]
    assert Campaign.objects.count() == 1
    with pytest.raises(Refused, match="Only 6 pairs"):
        lifecycle.create_campaign(
            campaign=Campaign(slug="x", name="X"), selection=lifecycle.Selection(pairs=7), actor=make_user()
        )
    lead.post("/campaigns/new", form | {"pairs": 6})
    again = lead.post("/campaigns/new", form | {"pairs": 6})
    assert "Another campaign has this address" in again.context["form"].errors["slug"][0]


# The admin


def test_admin_groups_all_models_by_subject(admin_client):
    groups = [group["name"] for group in admin_client.get("/admin/").context["app_list"]]
    assert groups == ["Pictures", "Judging", "Labels and predictors", "Jobs, runs and snapshots", "Accounts and safety"]


def test_judgement_list_has_pictures_and_filters(lead):
    ann = make_user("ann")
    campaign = make_campaign(faces=1, members=(ann,))
    judge(ann, campaign, first, answers=2)
    few = queries_of(lead, "/admin/annotate/judgement/")
    judge(ann, campaign, first)
    assert queries_of(lead, "/admin/annotate/judgement/") == few
    query = {"lease__item__campaign__id__exact": campaign.pk, "lease__annotator__id__exact": ann.pk}
    assert lead.get("/admin/annotate/judgement/", query).content.decode().count("/images/") == 6
