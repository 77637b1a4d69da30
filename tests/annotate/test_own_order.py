"""Everyone's own order of the items of a campaign."""

import pytest

from annotate.campaigns import lifecycle
from annotate.desk.own_order import DIGEST_BITS, OwnOrder
from annotate.models import Campaign, Lease
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


def test_two_annotators_share_items_early_in_different_orders():
    people = [make_user(), make_user()]
    campaign = make_campaign(faces=70, overlap=2, members=people)  # 210 items in four blocks
    first, second = ([lease.item_id for lease in answer_all(person, campaign, limit=60)] for person in people)
    assert sum(one == other for one, other in zip(first, second, strict=True)) <= 6  # the same item at the same time
    assert len(set(first) & set(second)) >= 30
    rest = [answer_all(person, campaign) for person in people]
    assert [60 + len(leases) for leases in rest] == [210, 210]
    assert set(campaign.items.values_list("open_slots", flat=True)) == {0}


def test_study_keeps_both_questions_of_a_pair_together():
    people = [make_user(), make_user(), make_user()]
    campaign = make_campaign(faces=8, overlap=3, kind=Campaign.Kind.STUDY, members=people)
    starts = set()
    for person in people:
        leases = answer_all_questions(person, campaign)
        assert len(leases) == 48
        pairs = [lease.item.pair_id for lease in leases]
        assert pairs[::2] == pairs[1::2]
        starts.add(pairs[0])
    assert len(starts) > 1


def answer_all_questions(person, campaign) -> list[Lease]:
    import uuid

    from annotate.desk.judging import submit_judgement
    from annotate.desk.leasing import lease_items

    done = []
    while leases := lease_items(annotator=person, campaign=campaign):
        submit_judgement(annotator=person, lease_token=leases[0].token, key=uuid.uuid4(), choice="left")
        done.append(leases[0])
    return done


def test_larger_overlap_asks_earlier_items_again():
    ann, bob = make_user(), make_user()
    campaign = make_campaign(faces=30, overlap=1, members=[ann, bob])
    assert len(answer_all(ann, campaign)) == 90
    lifecycle.extend_overlap(campaign=campaign, by=1)
    assert len(answer_all(ann, campaign)) == 0
    assert len(answer_all(bob, campaign)) == 90
