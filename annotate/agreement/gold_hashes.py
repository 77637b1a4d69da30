"""The gold set: which faces nothing may learn from, its pairs, and the hashes that freeze it."""

import hashlib
from collections.abc import Iterable

from annotate.labels.votes import Vote, votes
from annotate.models import GoldSet


class GoldChanged(ValueError):
    """A gold set is no longer what was made or frozen."""


def pairs_hash(gold_set: GoldSet) -> str:
    """sha256 over persons and pictures of its pairs, in the order of pairs."""
    rows = gold_set.campaign.items.order_by("pair_id").values_list(
        "pair__face__identity", "pair__first__sha256", "pair__second__sha256"
    )
    return _hash(rows)


def answers_hash(gold_set: GoldSet) -> str:
    """sha256 over its pairs and every answer in force, mirrored repeats included."""
    given = sorted(votes(campaign=gold_set.campaign, with_repeats=True), key=_key)
    return _hash([(pairs_hash(gold_set),), *map(_told, given)])


def _key(vote: Vote) -> tuple:
    return vote.pair, vote.annotator, vote.is_repeat


def _told(vote: Vote) -> tuple:
    return (*_key(vote), vote.choice, vote.criterion, vote.left_is_first)


def _hash(rows: Iterable[tuple]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(("\t".join(map(str, row)) + "\n").encode())
    return digest.hexdigest()


def require_unchanged(gold_set: GoldSet) -> None:
    """Raises `GoldChanged` if its pairs, or the answers of a frozen one, are not what their hashes say."""
    remedy = "Restore the database from a backup, or make a new gold set."
    if pairs_hash(gold_set) != gold_set.pairs_sha256:
        raise GoldChanged(f"The pairs of the {gold_set} are not those that it was made of. {remedy}")
    if gold_set.frozen_at and answers_hash(gold_set) != gold_set.answers_sha256:
        raise GoldChanged(f"The answers of the {gold_set} are not those that were frozen. {remedy}")


def find_gold_set(slug: str | None = None) -> GoldSet:
    """The gold set of this campaign, or the only one there is. Raises `LookupError` with the remedy."""
    sets = {found.campaign.slug: found for found in GoldSet.objects.select_related("campaign").order_by("pk")}
    if slug in sets:
        return sets[slug]
    if not sets:
        raise LookupError("There is no gold set yet: manage.py make_gold.")
    if slug is None and len(sets) == 1:
        return next(iter(sets.values()))
    raise LookupError(
        f"{'Which gold set' if slug is None else f'No gold set is called {slug}'}? Known: {', '.join(sets)}."
    )
