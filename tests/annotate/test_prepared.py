"""Queries whose SQL is composed once: the rows of the same queryset, whatever the values."""

import uuid
from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone

from annotate.common.prepared import Prepared, PreparedUpdate
from annotate.desk import leasing
from annotate.models import Item, Lease
from tests.support.factories import make_campaign, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def leases() -> list[Lease]:
    people = (make_user("ann"), make_user("bob"))
    campaign = make_campaign(members=people)
    return [one for person in people for one in leasing.lease_items(annotator=person, campaign=campaign, depth=2)]


def test_rows_are_those_of_the_queryset(leases):
    def described(annotator, token, before):
        found = Lease.objects.filter(annotator_id=annotator, issued_at__lt=before).exclude(token=token)
        return found.select_related("item__pair").order_by("pk")

    prepared = Prepared(described, annotator=int, token=uuid.UUID, before=type(leases[0].issued_at))
    soon, earlier = timezone.now() + timedelta(hours=1), timezone.now() - timedelta(hours=1)
    for lease in leases:
        for before in (soon, earlier):
            values = {"annotator": lease.annotator_id, "token": lease.token, "before": before}
            assert prepared(**values) == list(described(**values))
    (other,) = prepared(annotator=leases[0].annotator_id, token=leases[0].token, before=soon)
    assert other == leases[1] and other.issued_at == leases[1].issued_at
    assert other.item.pair.pk == leases[1].item.pair_id


def test_update_counts_the_rows_that_match(leases):
    added = PreparedUpdate(
        lambda item, slots: (Item.objects.filter(pk=item), {"open_slots": F("open_slots") + slots}), item=int, slots=int
    )
    item = leases[0].item
    before = Item.objects.get(pk=item.pk).open_slots
    assert added(item=item.pk, slots=3) == 1 and added(item=item.pk, slots=2) == 1 and added(item=0, slots=2) == 0
    assert Item.objects.get(pk=item.pk).open_slots == before + 5


def test_value_that_the_query_does_not_contain_is_refused(leases):
    query = Prepared(lambda item, other: Item.objects.filter(pk=item), item=int, other=int)
    with pytest.raises(ValueError, match="does not use other"):
        query(item=1, other=2)
