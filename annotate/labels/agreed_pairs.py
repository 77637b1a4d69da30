"""Pairs of two restorations about which several people agree: examples of a rule, and attention checks."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

from annotate.common.sides import CANT_TELL
from annotate.labels.votes import counted, votes
from annotate.models import Campaign, Item

LEAST = 2  # people


@dataclass(frozen=True)
class AgreedPair:
    """A pair for which every vote names the same image. criterion: of all votes, or empty if they differ."""

    pair: int
    better: str  # first or second
    criterion: str
    people: int


def agreed_pairs(*, campaign: Campaign | None = None, criterion: str = "", most: int = 24) -> list[AgreedPair]:
    """Return the pairs on which the most people agree, without anchored pairs and those of gold sets.

    campaign: only votes in it. criterion: only pairs that all decided by this rule. Reads every vote.
    """
    found = _agreed(campaign, criterion)
    best = heapq.nlargest(2 * most, found, key=lambda one: (one.people, -one.pair))
    gold = set(
        Item.objects.filter(campaign__gold_set__isnull=False, pair__in=[one.pair for one in best]).values_list(
            "pair", flat=True
        )
    )
    return [one for one in best if one.pair not in gold][:most]


def _agreed(campaign: Campaign | None, criterion: str) -> Iterator[AgreedPair]:
    given = votes(campaign=campaign, with_simulated=False)
    for pair, cast in groupby(given, key=lambda vote: vote.pair):
        chosen = counted(list(cast))
        choices = {vote.choice for vote in chosen}
        rules = {vote.criterion for vote in chosen}
        people = {vote.annotator for vote in chosen}
        if len(people) < LEAST or len(choices) > 1 or CANT_TELL in choices:
            continue
        if "hq" in (chosen[0].first, chosen[0].second) or (criterion and rules != {criterion}):
            continue
        yield AgreedPair(pair, choices.pop(), rules.pop() if len(rules) == 1 else "", len(people))
