"""Pairs of a face's candidates."""

import hashlib
from collections.abc import Iterator
from itertools import combinations

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet

from annotate.common.batches import batches, in_chunks
from annotate.models import Candidate, Face, Pair
from annotate.pipeline.stage import Step

FACES_PER_TRANSACTION = 500


def build_pairs(faces: QuerySet[Face], *, with_identical: bool = False) -> Iterator[Step]:
    """Build all n(n-1)/2 pairs of each face's n hq and restored images (Sec. 3.1: six of four), without lq.

    with_identical: also pairs of identical images, which are left out otherwise.
    """
    in_pairs = ~Q(candidates__source=Candidate.LQ)
    counted = faces.annotate(
        images=Count("candidates", filter=in_pairs, distinct=True), built=Count("pairs", distinct=True)
    )
    todo = counted.filter(built__lt=F("images") * (F("images") - 1) / 2).order_by("pk")
    for batch in batches(in_chunks(todo), FACES_PER_TRANSACTION):
        yield from _build_batch([face.pk for face in batch], with_identical)


def in_no_pair(candidates: QuerySet[Candidate]) -> QuerySet[Candidate]:
    """Select restored images that are in no pair yet: those that were restored after the pairs were built."""
    as_first, as_second = (Pair.objects.filter(**{end: OuterRef("pk")}) for end in ("first", "second"))
    return candidates.filter(restorer__isnull=False).exclude(Exists(as_first)).exclude(Exists(as_second))


@transaction.atomic
def _build_batch(face_ids: list[int], with_identical: bool) -> list[Step]:
    by_face: dict[int, list[Candidate]] = {}
    for candidate in Candidate.objects.filter(face__in=face_ids).exclude(source=Candidate.LQ).order_by("pk"):
        by_face.setdefault(candidate.face_id, []).append(candidate)
    existing = {frozenset(ends) for ends in Pair.objects.filter(face__in=face_ids).values_list("first_id", "second_id")}
    missing = [
        (one, other)
        for candidates in by_face.values()
        for one, other in combinations(candidates, 2)
        if frozenset((one.pk, other.pk)) not in existing
    ]
    pairs = [_pair(one, other) for one, other in missing if with_identical or not one.shows_the_same(other)]
    left_out = [_identical(one, other) for one, other in missing if not with_identical and one.shows_the_same(other)]
    done = len(Pair.objects.bulk_create(pairs, ignore_conflicts=True))
    return [Step(done=done), *left_out]


def _identical(one: Candidate, other: Candidate) -> Step:
    return Step(
        skipped=f"face {one.face_id}, {one.source} and {other.source}",
        reason="identical",
        detail="the two images are identical; --with-identical makes a pair of them",
        is_fault=False,
    )


def _pair(one: Candidate, other: Candidate) -> Pair:
    """Make a pair. A hash of the image contents decides which comes first, so the order carries no information."""
    draw = hashlib.blake2b(f"{one.sha256}/{other.sha256}".encode(), digest_size=1).digest()[0] & 1
    first, second = (one, other) if draw else (other, one)
    anchored = Candidate.HQ in (first.source, second.source)
    return Pair(
        face_id=first.face_id,
        first=first,
        second=second,
        kind=Pair.Kind.ANCHORED if anchored else Pair.Kind.CONTESTED,
        p_first=float(first.source == Candidate.HQ) if anchored else None,
    )
