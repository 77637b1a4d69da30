"""Order of items, and mirrored repeats."""

import uuid

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from annotate.desk import judging, queueing
from annotate.desk.judging import skip_item, submit_judgement, undo_last
from annotate.desk.leasing import lease_items
from annotate.models import AutoLabel, Campaign, Item, Judgement, Lease, Membership, Predictor, Preference
from annotate.predictor import uncertainty_ranking
from tests.support.factories import make_campaign, make_user

pytestmark = [pytest.mark.django_db, pytest.mark.database]


def answer(annotator, lease, choice="left", criterion="realism"):
    return submit_judgement(
        annotator=annotator, lease_token=lease.token, key=uuid.uuid4(), choice=choice, criterion=criterion
    )[0]


def answer_all(annotator, campaign, limit=1000) -> list[Lease]:
    done = []
    while len(done) < limit and (leases := lease_items(annotator=annotator, campaign=campaign)):
        answer(annotator, leases[0])
        done.append(leases[0])
    return done


def label(campaign) -> dict[int, float]:
    """Create an SVM version with a different margin for every pair. Returns pair -> margin."""
    version = Predictor.objects.create(status="ready")
    pairs = list(campaign.items.order_by("pair_id").values_list("pair_id", flat=True))
    p_first = {pair: 0.5 + (1 if place % 2 else -1) * 0.004 * (place + 1) for place, pair in enumerate(pairs)}
    AutoLabel.objects.bulk_create(AutoLabel(predictor=version, pair_id=pair, p_first=p) for pair, p in p_first.items())
    uncertainty_ranking.rank_uncertain(version)
    return {pair: abs(p - 0.5) for pair, p in p_first.items()}


def test_uncertain_order_smallest_margins_first_with_random_share():
    person = make_user()
    campaign = make_campaign(faces=40, members=[person], order=Campaign.Order.UNCERTAIN, random_share=0.25)
    margins = label(campaign)
    audited = set(campaign.items.filter(audit=True).values_list("pair_id", flat=True))
    assert 15 <= len(audited) <= 46  # of 120, each with probability 1/4: within 3 standard deviations
    leases = answer_all(person, campaign, limit=40)
    by_margin = [lease.item.pair_id for lease in leases if lease.drawn == Lease.Drawn.UNCERTAIN]
    at_random = [lease.item.pair_id for lease in leases if lease.drawn == Lease.Drawn.RANDOM]
    assert by_margin == sorted(set(margins) - audited, key=margins.get)[: len(by_margin)]
    assert set(at_random) <= audited
    assert 3 <= len(at_random) <= 19  # of 40, each with probability 1/4
    assert len(answer_all(person, campaign)) == 120 - 40  # finally, all items are asked


def test_new_predictor_reranks_open_items_only():
    person = make_user()
    campaign = make_campaign(faces=5, members=[person], order=Campaign.Order.UNCERTAIN, random_share=0)
    label(campaign)
    answer_all(person, campaign, limit=4)
    judged = set(Lease.objects.filter(status="answered").values_list("item_id", flat=True))
    label(campaign)
    ranked = Item.objects.filter(rank__isnull=False)
    assert ranked.count() == 15 - 4
    assert not judged & set(ranked.values_list("pk", flat=True))


def test_repeats_mirrored_later_same_annotator_without_slot():
    people = [make_user(), make_user()]
    campaign = make_campaign(faces=60, overlap=1, members=people, repeat_share=0.2)
    seen = [answer_all(person, campaign, limit=80) for person in people]
    for leases in seen:
        places = {(lease.item_id, lease.is_repeat): place for place, lease in enumerate(leases)}
        sides = {(lease.item_id, lease.is_repeat): lease.left_is_first for lease in leases}
        repeats = [item for item, is_repeat in places if is_repeat]
        assert repeats
        for item in repeats:
            assert places[item, True] - places[item, False] > queueing.REPEAT_AFTER[0]
            assert sides[item, True] is not sides[item, False]
    rest = [answer_all(person, campaign) for person in people]
    repeats = [lease for leases in seen + rest for lease in leases if lease.is_repeat]
    assert 18 <= len(repeats) <= 54  # of 180, each with probability 1/5
    assert not Lease.objects.filter(status="planned").exists()
    assert sum(Membership.objects.values_list("answered", flat=True)) == 180
    assert sum(Membership.objects.values_list("repeated", flat=True)) == len(repeats)
    assert set(campaign.items.values_list("open_slots", flat=True)) == {0}
    assert set(Preference.objects.filter(origin="human").values_list("judgements", flat=True)) == {1}


def test_undo_deletes_planned_repeat():
    person = make_user()
    campaign = make_campaign(members=[person], repeat_share=0.5)
    while not Lease.objects.filter(status="planned").exists():
        answer_all(person, campaign, limit=1)
    undo_last(annotator=person, campaign=campaign)
    assert not Lease.objects.filter(status="planned").exists()


def test_returned_item_found_behind_cursor():
    quick, slow = make_user(), make_user()
    campaign = make_campaign(faces=4, members=[quick, slow])
    held = lease_items(annotator=slow, campaign=campaign)[0]
    assert len(answer_all(quick, campaign)) == 11
    assert lease_items(annotator=quick, campaign=campaign) == []
    skip_item(annotator=slow, lease_token=held.token, reason="other")
    assert [lease.item_id for lease in lease_items(annotator=quick, campaign=campaign)] == [held.item_id]


def test_lease_items_query_count_independent_of_items():
    counts = []
    for faces in (3, 40):
        person, other = make_user(), make_user()
        campaign = make_campaign(faces=faces, overlap=2, members=[person, other], repeat_share=0.5)
        answer_all(other, campaign, limit=5)
        with CaptureQueriesContext(connection) as queries:
            lease_items(annotator=person, campaign=campaign, depth=4)
        counts.append(len(queries))
    assert max(counts) <= 40  # one more or less where the annotator's own order goes round


def test_changed_answer_keeps_old_revision():
    person = make_user()
    campaign = make_campaign(members=[person])
    lease = lease_items(annotator=person, campaign=campaign)[0]
    first = answer(person, lease, "left", "detail")
    second, _ = submit_judgement(
        annotator=person, lease_token=lease.token, key=uuid.uuid4(), choice="right", criterion="realism", change=True
    )
    assert [row.pk for row in Judgement.objects.order_by("revision")] == [first.pk, second.pk]
    assert {first.choice, second.choice} == {"first", "second"}
    row = Preference.objects.get(pair=lease.item.pair)
    assert (row.judgements, row.p_first) == (1, float(second.choice == "first"))
    assert Membership.objects.get(annotator=person).answered == 1
    unanswered = lease_items(annotator=person, campaign=campaign)[0]
    with pytest.raises(judging.Refused, match="no answer to change"):
        submit_judgement(annotator=person, lease_token=unanswered.token, key=uuid.uuid4(), choice="left", change=True)
