"""Hashes of a gold set's pairs and answers, which detect changes."""

import hashlib
from collections.abc import Iterable

from django.utils.translation import gettext as _

from annotate.labels.votes import Vote, votes
from annotate.models import GoldSet


class GoldChanged(ValueError):
    """The pairs or answers of a gold set have changed since it was made or frozen."""


def pairs_hash(gold_set: GoldSet) -> str:
    """Compute the sha256 over persons and pictures of its pairs, in the order of pairs."""
    rows = gold_set.campaign.items.order_by("pair_id").values_list(
        "pair__face__identity", "pair__first__sha256", "pair__second__sha256"
    )
    return _hash(rows)


def answers_hash(gold_set: GoldSet) -> str:
    """Compute the sha256 over its pairs and all current answers, including mirrored repeats."""
    given = sorted(votes(campaign=gold_set.campaign, with_repeats=True, with_simulated=True), key=_key)
    return _hash([(pairs_hash(gold_set),), *map(_fields, given)])


def _key(vote: Vote) -> tuple:
    return vote.pair, vote.annotator, vote.is_repeat


def _fields(vote: Vote) -> tuple:
    return (*_key(vote), vote.choice, vote.criterion, vote.left_is_first)


def _hash(rows: Iterable[tuple]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(("\t".join(map(str, row)) + "\n").encode())
    return digest.hexdigest()


def hash_again(gold_set: GoldSet) -> None:
    """Store the hashes of the present pairs and answers, after faces were deleted on request."""
    gold_set.pairs_sha256 = pairs_hash(gold_set)
    if gold_set.frozen_at:
        gold_set.answers_sha256 = answers_hash(gold_set)
    gold_set.save(update_fields=["pairs_sha256", "answers_sha256"])


def require_unchanged(gold_set: GoldSet) -> None:
    """Raise `GoldChanged` if the pairs, or the answers of a frozen gold set, do not match their hashes."""
    name = gold_set.campaign.slug
    if pairs_hash(gold_set) != gold_set.pairs_sha256:
        raise GoldChanged(
            _(
                "The pairs of the gold set %(name)s have changed since it was made. Restore the database from a "
                "backup, or make a new gold set."
            )
            % {"name": name}
        )
    if gold_set.frozen_at and answers_hash(gold_set) != gold_set.answers_sha256:
        raise GoldChanged(
            _(
                "The answers of the gold set %(name)s have changed since it was frozen. Restore the database from a "
                "backup, or make a new gold set."
            )
            % {"name": name}
        )


def find_gold_set(slug: str | None = None) -> GoldSet:
    """Find the gold set of this campaign, by default the only one. Raises `LookupError` with the remedy."""
    sets = {found.campaign.slug: found for found in GoldSet.objects.select_related("campaign").order_by("pk")}
    if slug in sets:
        return sets[slug]
    if not sets:
        raise LookupError("There is no gold set yet: run manage.py make_gold.")
    if slug is None and len(sets) == 1:
        return next(iter(sets.values()))
    problem = "There are several gold sets: name one" if slug is None else f"There is no gold set {slug}"
    raise LookupError(f"{problem}. Known: {', '.join(sets)}.")
