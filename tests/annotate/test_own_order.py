"""Everyone's own order of the items of a campaign."""

import uuid

import pytest

from annotate.campaigns import lifecycle
from annotate.desk.judging import submit_judgement
from annotate.desk.leasing import lease_items
from annotate.desk.own_order import DIGEST_BITS, OwnOrder, order_of
from annotate.models import Campaign, Membership
from tests.annotate.test_queueing import answer_all
from tests.support.factories import make_campaign, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def test_place_is_a_permutation_that_ranges_follow():
    order = OwnOrder("seed", level=DIGEST_BITS - 3, step=1)  # blocks of 8 positions
    for start in (0, 8, 80):
        walked = [position for low, high in order.ranges(start) for position in range(low, high)]
        assert sorted(walked) == list(range(start, start + 8))
        assert [order.place_of(position) for position in walked] == list(range(start, start + 8))
        for place in range(start, start + 8):
            rest = [position for low, high in order.rest_of_block(place) for position in range(low, high)]
            assert rest == walked[place - start + 1 :]
    assert order.place_at(order.cursor(83)) == 83
    assert OwnOrder("seed", level=4, step=1).place_at(order.cursor(83)) == -1


def first_items(campaign, people) -> list[int]:
    """Return the item that each person would get first."""
    firsts = []
    for person in people:
        order = order_of(Membership.objects.select_related("campaign").get(campaign=campaign, annotator=person))
        firsts.append(min(campaign.items.all(), key=lambda item: order.place_of(item.position)))
    return firsts


def test_annotators_share_a_block_in_orders_of_their_own():
    people = [make_user() for _ in range(8)]
    campaign = make_campaign(faces=24, overlap=2, members=people)  # 72 items in two blocks
    firsts = first_items(campaign, people)
    assert len({item.pk for item in firsts}) > 1
    ann, bob = people[:2]
    first, second = ([lease.item_id for lease in answer_all(person, campaign, limit=30)] for person in (ann, bob))
    assert first[0] == firsts[0].pk and second[0] == firsts[1].pk
    assert len(set(first) & set(second)) >= 12
    assert [30 + len(answer_all(person, campaign)) for person in (ann, bob)] == [72, 72]
    assert set(campaign.items.values_list("open_slots", flat=True)) == {0}


def test_study_keeps_both_questions_of_a_pair_together():
    people = [make_user() for _ in range(8)]
    campaign = make_campaign(faces=4, overlap=8, kind=Campaign.Kind.STUDY, members=people)
    assert len({item.pair_id for item in first_items(campaign, people)}) > 1
    pairs = []
    while leases := lease_items(annotator=people[0], campaign=campaign):
        submit_judgement(annotator=people[0], lease_token=leases[0].token, key=uuid.uuid4(), choice="left")
        pairs.append(leases[0].item.pair_id)
    assert len(pairs) == 24
    assert pairs[::2] == pairs[1::2]


def test_larger_overlap_asks_earlier_items_again():
    ann, bob = make_user(), make_user()
    campaign = make_campaign(faces=8, overlap=1, members=[ann, bob])
    assert len(answer_all(ann, campaign)) == 24
    lifecycle.extend_overlap(campaign=campaign, by=1)
    assert len(answer_all(ann, campaign)) == 0
    assert len(answer_all(bob, campaign)) == 24
