"""Items of a campaign: each is one question about one pair."""

import hashlib
from collections.abc import Iterable, Mapping

from django.db import transaction
from django.utils.translation import gettext as _

from annotate.common import randomness
from annotate.common.batches import batches
from annotate.common.refusals import Refused
from annotate.models import Campaign, GoldSet, Item


@transaction.atomic
def add_items(*, campaign: Campaign, pairs: Iterable[int], checks: Mapping[int, str] | None = None) -> int:
    """Add pairs (ids) to a campaign in the random order of its seed, with one item per question. Items already in it
    are unchanged. Returns the number of new items that are asked.

    checks: pairs whose answer is known -> the better image, first or second. They become attention checks, mixed with
    the first 5,000 pairs: neither place nor id tells them apart.

    Resets the cursors of all members, since new items may come before them in the order. Raises `Refused` for a gold
    set, whose pairs are fixed.
    """
    if GoldSet.objects.filter(campaign=campaign).exists():
        raise Refused(
            "is_gold_set", _("The pairs of a gold set are fixed: create another gold set or another campaign.")
        )
    known = dict(checks or {})
    before = campaign.items.asked().count()
    for batch in batches(pairs, 5000):
        items = [
            _item(campaign, pair, place, question, known.get(pair, ""))
            for pair in (*batch, *known)
            for place, question in enumerate(campaign.questions)
        ]
        # Ids follow the random order too: an id must not reveal which restorers a pair compares.
        items.sort(key=lambda item: item.position)
        Item.objects.bulk_create(items, ignore_conflicts=True)
        known = {}
    after = campaign.items.asked().count()
    Campaign.objects.filter(pk=campaign.pk).update(item_count=after)
    campaign.memberships.update(cursor=-1, audit_cursor=-1)
    return after - before


def _item(campaign: Campaign, pair: int, place: int, question: str, known_answer: str) -> Item:
    """Build an item. The questions about a pair are adjacent in the order, so that its images are viewed once."""
    digest = hashlib.blake2b(f"{campaign.seed}/{pair}".encode(), digest_size=7).digest()
    audited = campaign.order == Campaign.Order.UNCERTAIN and not known_answer
    return Item(
        campaign=campaign,
        pair_id=pair,
        question=question,
        position=int.from_bytes(digest, "big") * len(campaign.questions) + place,
        open_slots=0 if known_answer else campaign.overlap,
        known_answer=known_answer,
        audit=audited and randomness.uniform(f"{campaign.seed}/audit/{pair}") < campaign.random_share,
    )
