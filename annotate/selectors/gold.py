"""The gold set: which faces nothing may learn from, its pairs, and the hashes that freeze it."""

import hashlib
from collections.abc import Iterable, Iterator

from annotate.models import Candidate, Face, GoldSet, Item
from annotate.models.faces import Split
from annotate.selectors.votes import Vote, votes
from annotate.stages import batches

AT_ONCE = 500


class GoldLeak(ValueError):
    """Something of the gold set is among what trains."""


class GoldChanged(ValueError):
    """A gold set is no longer what was made or frozen."""


def gold_faces() -> dict[int, str]:
    """Face -> person: of split gold, and of any gold set whatever the face's split says now."""
    asked = Item.objects.filter(campaign__in=list(GoldSet.objects.values_list("campaign", flat=True)))
    faces = dict(Face.objects.filter(split=Split.GOLD).values_list("pk", "identity"))
    return faces | dict(Face.objects.filter(pk__in=asked.values("pair__face")).values_list("pk", "identity"))


def refuse_gold_in_training() -> None:
    """Raises `GoldLeak` if a training face, its person or one of its pictures is in the gold set.

    In parts, by values: one query with everything in it takes PostgreSQL seconds while it has no statistics.
    """
    gold = gold_faces()
    for what, field, values in (
        ("is in a gold set", "pk__in", gold),
        ("shows a person of the gold set", "identity__in", dict.fromkeys(gold.values())),
        ("has a picture of the gold set", "candidates__sha256__in", _pictures(gold)),
    ):
        for part in batches(values, AT_ONCE):
            if face := Face.objects.filter(split=Split.TRAIN, **{field: part}).order_by("pk").first():
                raise GoldLeak(
                    f"Face {face.pk} (identity {face.identity}) is of split train and {what}. Nothing may learn from "
                    "gold faces: give the person one split (ingest the photographs anew with --identity-from), then "
                    "go on."
                )


def _pictures(faces: Iterable[int]) -> Iterator[str]:
    for part in batches(faces, AT_ONCE):
        shown = Candidate.objects.filter(face__in=part).exclude(source=Candidate.LQ)
        yield from shown.values_list("sha256", flat=True)


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
