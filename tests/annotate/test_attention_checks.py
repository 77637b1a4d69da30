"""Attention checks: drawn, invisible to the annotator, reviewed, and never votes."""

import json
import uuid
from itertools import pairwise

import pytest

from annotate.campaigns import attention_pairs, lifecycle, oversight
from annotate.common.refusals import Refused
from annotate.desk import attention
from annotate.desk.judging import submit_judgement, undo_last
from annotate.desk.leasing import lease_items
from annotate.labels.votes import votes
from annotate.models import Campaign, Lease, Membership, Preference
from tests.support.factories import make_campaign, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def checked_campaign(*people, **fields) -> Campaign:
    """Make a campaign of 12 pairs with the photograph's pairs as checks."""
    make_campaign(faces=4)  # faces, and their anchored pairs
    campaign = Campaign(
        **{"slug": "checked", "name": "Checked", "seed": 1, "check_share": 0.3, "check_consequence": "report"} | fields
    )
    lifecycle.create_campaign(campaign=campaign, selection=lifecycle.Selection(), actor=make_user(is_staff=True))
    lifecycle.invite(campaign=campaign, annotators=people)
    return campaign


def side(lease: Lease, *, right: bool) -> str:
    """Return the side of the better image of a check, or of the other."""
    is_left = (lease.item.known_answer == "first") == lease.left_is_first
    return "left" if is_left == right else "right"


def answer_all(person, campaign, *, checks_right: bool) -> list[Lease]:
    done = []
    while leases := lease_items(annotator=person, campaign=campaign):
        lease = leases[0]
        choice = side(lease, right=checks_right) if lease.drawn == Lease.Drawn.CHECK else "left"
        submit_judgement(annotator=person, lease_token=lease.token, key=uuid.uuid4(), choice=choice)
        done.append(lease)
    return done


def test_checks_are_mixed_in_and_take_no_slots():
    person = make_user(id=1007)  # whose checks are drawn as below
    campaign = checked_campaign(person)
    assert (campaign.item_count, campaign.items.checks().count()) == (12, 12)
    ids = [known != "" for known in campaign.items.order_by("pk").values_list("known_answer", flat=True)]
    assert sum(one != other for one, other in pairwise(ids)) > 2  # neither block of ids
    done = answer_all(person, campaign, checks_right=True)
    checks = [lease for lease in done if lease.drawn == Lease.Drawn.CHECK]
    assert len(done) - len(checks) == 12
    assert 2 <= len(checks) <= 9
    member = Membership.objects.get(annotator=person)
    assert (member.answered, member.checked) == (12, len(checks))
    assert attention.results(campaign)[person.pk] == attention.CheckResult(len(checks), len(checks))
    assert {vote.pair for vote in votes()} == set(campaign.items.asked().values_list("pair", flat=True))
    assert Preference.objects.filter(origin="human").count() == 12
    assert oversight.pace(campaign).answers == 12
    undo_last(annotator=person, campaign=campaign)
    assert Membership.objects.get(annotator=person).seen == len(done) - 1


def test_api_shows_a_check_like_any_other_pair(client):
    person = make_user(id=1004)
    campaign = checked_campaign(person)
    client.force_login(person)
    shapes, progress = set(), []
    for _ in range(12):
        item = client.post(f"/api/v1/campaigns/{campaign.slug}/next", {}, content_type="application/json").json()
        shapes.add(tuple(sorted((name, type(value).__name__) for name, value in item.items())))
        body = {"item": item["item"], "lease": item["lease"], "key": str(uuid.uuid4()), "choice": "left"}
        stored = client.post("/api/v1/judgements", json.dumps(body), content_type="application/json")
        assert stored.status_code == 201
        shapes.add(tuple(sorted(stored.json())))
        found = client.get(f"/api/v1/campaigns/{campaign.slug}/progress").json()
        progress.append((found["answered"], found["items"], found["answers_wanted"], found["own_share"]))
    assert Lease.objects.filter(drawn="check").exists()
    assert len(shapes) == 2
    assert progress == [(n, 12, 12, 18) for n in range(1, 13)]


@pytest.mark.parametrize("consequence", ["report", "warn", "pause", "exclude"])
def test_wrong_checks_have_the_chosen_consequence(client, consequence):
    person = make_user(id=1004)
    campaign = checked_campaign(person, check_consequence=consequence, overlap=1)
    done = answer_or_pause(person, campaign)
    member = Membership.objects.get(annotator=person)
    states = {"warn": member.warned_at, "pause": member.paused_at, "exclude": member.excluded_at}
    result = attention.results(campaign).get(person.pk, attention.CheckResult())
    assert result.right == 0
    assert result.total >= attention.LEAST
    assert {name for name, at in states.items() if at} == ({consequence} - {"report"})
    assert (len(list(votes())) == 0) == (consequence == "exclude")
    assert Preference.objects.filter(origin="human").exists() == (consequence != "exclude")
    client.force_login(person)
    page = client.get(f"/campaigns/{campaign.slug}/judge").content.decode()
    assert ("differ from what is certain" in page) == (consequence in ("warn", "pause"))
    attention_pairs.lift(campaign=campaign, person=person, actor=make_user(is_staff=True))
    assert not any(Membership.objects.filter(annotator=person).values_list("warned_at", "paused_at", "excluded_at")[0])
    assert len(list(votes())) == Membership.objects.get(annotator=person).answered > 0
    assert len(done) >= 10


def answer_or_pause(person, campaign) -> list[Lease]:
    done: list[Lease] = []
    try:
        while leases := lease_items(annotator=person, campaign=campaign):
            lease = leases[0]
            choice = side(lease, right=False) if lease.drawn == Lease.Drawn.CHECK else "left"
            submit_judgement(annotator=person, lease_token=lease.token, key=uuid.uuid4(), choice=choice)
            done.append(lease)
    except Refused as refused:
        assert refused.code == "member_paused"
    return done


def test_marked_pair_leaves_the_votes_and_the_campaign():
    ann, bob, lead = make_user(), make_user(), make_user(is_staff=True)
    campaign = make_campaign(faces=2, overlap=2, members=[ann, bob])
    lease = lease_items(annotator=ann, campaign=campaign)[0]
    submit_judgement(annotator=ann, lease_token=lease.token, key=uuid.uuid4(), choice=side_of_first(lease))
    held = lease_items(annotator=bob, campaign=campaign, depth=4)
    pair = lease.item.pair_id
    assert attention_pairs.mark(campaign=campaign, pair=pair, better="first", actor=lead) == 1
    campaign.refresh_from_db()
    assert campaign.item_count == 5
    assert list(votes()) == []
    assert attention.results(campaign) == {ann.pk: attention.CheckResult(1, 1)}
    for one in held:
        submit_judgement(annotator=bob, lease_token=one.token, key=uuid.uuid4(), choice="left")
    lifecycle.extend_overlap(campaign=campaign, by=1)
    assert campaign.items.checks().get().open_slots == 0
    with pytest.raises(Refused, match="does not ask about"):
        attention_pairs.mark(campaign=campaign, pair=pair, better="first", actor=lead)


def side_of_first(lease: Lease) -> str:
    return "left" if lease.left_is_first else "right"
