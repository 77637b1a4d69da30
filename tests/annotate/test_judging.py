"""Guarantees about items, leases and judgements."""

import uuid
from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from annotate.campaigns import lifecycle
from annotate.common.refusals import Refused
from annotate.desk import leasing
from annotate.desk.judging import skip_item, submit_judgement, undo_last
from annotate.desk.leasing import lease_items
from annotate.models import Item, Judgement, Lease, Membership, Preference
from tests.support.factories import make_campaign, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def answer(annotator, lease, choice="left", key=None, criterion="realism"):
    return submit_judgement(
        annotator=annotator,
        lease_token=lease.token,
        key=key or uuid.uuid4(),
        choice=choice,
        criterion=criterion,
    )


def open_slots_match_leases() -> bool:
    return all(
        item.open_slots == item.campaign.overlap - item.leases.filter(status__in=["held", "answered"]).count()
        for item in Item.objects.all()
    )


def test_items_get_exactly_overlap_annotators():
    people = [make_user() for _ in range(3)]
    campaign = make_campaign(faces=3, overlap=2, members=people)
    active = list(people)
    while active:
        for person in list(active):
            leases = lease_items(annotator=person, campaign=campaign)
            if leases:
                answer(person, leases[0])
            else:
                active.remove(person)
    assert Judgement.objects.count() == 9 * 2
    for item in campaign.items.all():
        assert item.leases.filter(status="answered").values("annotator").distinct().count() == 2
    assert sum(Membership.objects.values_list("answered", flat=True)) == 18
    assert open_slots_match_leases()


def test_negative_open_slots_violate_constraint():
    campaign = make_campaign(faces=1, overlap=1)
    item = campaign.items.first()
    Item.objects.filter(pk=item.pk).update(open_slots=0)
    with pytest.raises(IntegrityError), transaction.atomic():
        Item.objects.filter(pk=item.pk).update(open_slots=-1)


def test_lease_items_repeated_returns_same_pairs_and_sides():
    person = make_user()
    campaign = make_campaign(faces=5, members=[person])
    first = lease_items(annotator=person, campaign=campaign, depth=2)
    again = lease_items(annotator=person, campaign=campaign, depth=2)
    assert [(lease.token, lease.left.pk) for lease in first] == [(lease.token, lease.left.pk) for lease in again]


def test_sides_balanced_and_differ_between_annotators():
    people = [make_user() for _ in range(2)]
    campaign = make_campaign(faces=40, overlap=2, members=people)
    sides = []
    for person in people:
        leases = lease_items(annotator=person, campaign=campaign, depth=120)
        sides.append({lease.item_id: lease.left_is_first for lease in leases})
    shares = [sum(side.values()) / 120 for side in sides]
    assert all(0.35 < share < 0.65 for share in shares)  # 120 fair draws: over 3 standard deviations
    differing = sum(sides[0][item] != sides[1][item] for item in sides[0])
    assert 40 < differing < 80


def test_choice_stored_by_image_not_side():
    person = make_user()
    campaign = make_campaign(faces=10, members=[person])
    for lease in lease_items(annotator=person, campaign=campaign, depth=30):
        judgement, _ = answer(person, lease, "left")
        preferred = lease.item.pair.first if judgement.choice == "first" else lease.item.pair.second
        assert preferred == lease.left


def test_repeated_key_returns_first_answer():
    person = make_user()
    campaign = make_campaign(members=[person])
    lease = lease_items(annotator=person, campaign=campaign)[0]
    key = uuid.uuid4()
    first, created = answer(person, lease, "left", key)
    again, created_again = answer(person, lease, "right", key)
    assert (created, created_again) == (True, False)
    assert again == first
    assert Judgement.objects.count() == 1


def test_second_answer_to_same_lease_refused():
    person = make_user()
    campaign = make_campaign(members=[person])
    lease = lease_items(annotator=person, campaign=campaign)[0]
    answer(person, lease, "left")
    with pytest.raises(Refused, match="earlier answer was kept"):
        answer(person, lease, "right")
    assert Judgement.objects.count() == 1


def test_other_annotators_key_or_lease_refused():
    one, other = make_user(), make_user()
    campaign = make_campaign(faces=2, overlap=2, members=[one, other])
    mine = lease_items(annotator=one, campaign=campaign)[0]
    theirs = lease_items(annotator=other, campaign=campaign)[0]
    key = uuid.uuid4()
    answer(one, mine, key=key)
    with pytest.raises(Refused, match="another request"):
        answer(other, theirs, key=key)
    with pytest.raises(Refused, match="not held by you"):
        answer(one, theirs)


def expire(lease: Lease) -> None:
    Lease.objects.filter(pk=lease.pk).update(expires_at=timezone.now() - timedelta(seconds=1))


def test_expired_lease_reassigned_and_late_answer_refused():
    slow, quick = make_user(), make_user()
    campaign = make_campaign(faces=1, members=[slow, quick])
    leases = lease_items(annotator=slow, campaign=campaign, depth=3)
    assert lease_items(annotator=quick, campaign=campaign) == []
    expire(leases[0])
    taken = lease_items(annotator=quick, campaign=campaign)
    assert [lease.item_id for lease in taken] == [leases[0].item_id]
    with pytest.raises(Refused, match="time for this pair ran out"):
        answer(slow, leases[0])
    answer(quick, taken[0])
    assert open_slots_match_leases()


def test_late_answer_accepted_while_slot_open():
    slow, quick = make_user(), make_user()
    campaign = make_campaign(faces=1, overlap=2, members=[slow, quick])
    lease = lease_items(annotator=slow, campaign=campaign)[0]
    expire(lease)
    lease_items(annotator=quick, campaign=campaign, depth=3)
    assert Lease.objects.get(pk=lease.pk).status == "expired"
    answer(slow, lease)
    assert Lease.objects.get(pk=lease.pk).status == "answered"
    assert open_slots_match_leases()


def test_skipped_item_offered_only_to_others():
    one, other = make_user(), make_user()
    campaign = make_campaign(faces=1, members=[one, other])
    lease = lease_items(annotator=one, campaign=campaign)[0]
    skip_item(annotator=one, lease_token=lease.token, reason="image is broken")
    for rest in lease_items(annotator=one, campaign=campaign, depth=3):
        assert rest.item_id != lease.item_id
        answer(one, rest)
    assert lease_items(annotator=one, campaign=campaign) == []
    assert [given.item_id for given in lease_items(annotator=other, campaign=campaign, depth=3)] == [lease.item_id]


def test_undo_keeps_revision_and_reopens_lease():
    person = make_user()
    campaign = make_campaign(faces=2, members=[person])
    first, second, third = lease_items(annotator=person, campaign=campaign, depth=3)
    answer(person, first, "left")
    answer(person, second, "right")
    assert undo_last(annotator=person, campaign=campaign).token == second.token
    assert undo_last(annotator=person, campaign=campaign).token == first.token
    with pytest.raises(Refused, match="no answer"):
        undo_last(annotator=person, campaign=campaign)
    held = lease_items(annotator=person, campaign=campaign, depth=3)
    assert [lease.token for lease in held] == [first.token, second.token, third.token]
    answer(person, held[0], "right")
    history = first.judgements.order_by("revision").values_list("choice", flat=True)
    assert len(history) == 3
    assert history[1] == "undo"
    assert history[0] != history[2]
    assert Membership.objects.get(annotator=person).answered == 1
    assert open_slots_match_leases()


def test_undo_skip_refused_when_item_full():
    one, other = make_user(), make_user()
    campaign = make_campaign(faces=1, members=[one, other])
    lease = lease_items(annotator=one, campaign=campaign)[0]
    skip_item(annotator=one, lease_token=lease.token, reason="other")
    lease_items(annotator=other, campaign=campaign, depth=3)
    with pytest.raises(Refused, match="needs no more answers"):
        undo_last(annotator=one, campaign=campaign)
    assert open_slots_match_leases()


def test_lease_items_refused_for_non_member_or_paused_campaign():
    person, stranger = make_user(), make_user()
    campaign = make_campaign(members=[person])
    with pytest.raises(Refused, match="not a member"):
        lease_items(annotator=stranger, campaign=campaign)
    lifecycle.set_open(campaign=campaign, is_open=False)
    campaign.refresh_from_db()
    with pytest.raises(Refused, match="paused"):
        lease_items(annotator=person, campaign=campaign)


def test_released_leases_return_to_others():
    one, other = make_user(), make_user()
    campaign = make_campaign(faces=1, members=[one, other])
    lease_items(annotator=one, campaign=campaign, depth=3)
    assert lifecycle.release_leases(campaign=campaign) == 3
    assert len(lease_items(annotator=other, campaign=campaign, depth=3)) == 3
    assert open_slots_match_leases()


def test_preferences_count_people_before_simulated():
    people = [make_user(), make_user()]
    simulated = make_user(simulated=True)
    campaign = make_campaign(faces=1, overlap=3, members=[*people, simulated])
    for person, choices in ((people[0], "fff"), (people[1], "fsc"), (simulated, "sss")):
        for lease, letter in zip(
            sorted(lease_items(annotator=person, campaign=campaign, depth=3), key=lambda lease: lease.item_id),
            choices,
            strict=True,
        ):
            side = {"f": lease.left_is_first, "s": not lease.left_is_first, "c": None}[letter]
            answer(person, lease, "cant_tell" if side is None else "left" if side else "right", criterion=None)
    contested = Preference.objects.exclude(origin="ground_truth").order_by("pair__items__pk")
    assert [(row.p_first, row.origin, row.judgements, row.votes_first, row.votes_second) for row in contested] == [
        (1.0, "human", 2, 2, 0),
        (0.5, "human", 2, 1, 1),
        (0.75, "human", 2, 1, 0),
    ]
    anchored = Preference.objects.filter(origin="ground_truth")
    assert anchored.count() == 3
    for row in anchored.select_related("pair__first"):
        assert row.p_first == (row.pair.first.source == "hq")


def test_many_answers_queue_one_refit():
    from django_q.models import OrmQ

    person = make_user()
    campaign = make_campaign(faces=3, members=[person])
    for lease in lease_items(annotator=person, campaign=campaign, depth=9):
        answer(person, lease)
    assert OrmQ.objects.count() == 1
    assert leasing.held_leases(annotator=person, campaign=campaign).count() == 0
