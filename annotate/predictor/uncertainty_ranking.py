"""Rank open items by the predictor's margin, most uncertain first."""

from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Abs

from annotate.common.batches import batches
from annotate.models import AutoLabel, Campaign, Item, Predictor

RANKED = 2000  # items per campaign: more than are answered before the next refit


def rank_uncertain(version: Predictor) -> int:
    """Rank the open items of campaigns in uncertain-first order by the margin |p - 1/2| of this version's labels.
    Return the number of ranked items."""
    return sum(
        rank_campaign(campaign, version)
        for campaign in Campaign.objects.filter(order=Campaign.Order.UNCERTAIN, open=True)
    )


def rank_campaign(campaign: Campaign, version: Predictor) -> int:
    """Rank the items of one campaign."""
    asked = Item.objects.filter(campaign=campaign, pair=OuterRef("pair"), open_slots__gt=0, audit=False)
    labels = AutoLabel.objects.filter(predictor=version).filter(Exists(asked))
    pairs = list(labels.order_by(Abs(0.5 - F("p_first")), "pair_id").values_list("pair_id", flat=True)[:RANKED])
    rank_of = {pair: rank for rank, pair in enumerate(pairs)}
    items = Item.objects.filter(campaign=campaign)
    with transaction.atomic():
        items.filter(rank__isnull=False).update(rank=None)
        for batch in batches(pairs, 500):
            ranked = list(items.filter(pair__in=batch))
            for item in ranked:
                item.rank = rank_of[item.pair_id]
            Item.objects.bulk_update(ranked, ["rank"])
    return len(pairs)
