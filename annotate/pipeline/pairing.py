"""Pairs of a face's candidates."""

import hashlib
from collections.abc import Iterator
from itertools import combinations

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet

from annotate.common.batches import batches
from annotate.models import Candidate, Face, Pair
from annotate.pipeline.stage import Step

FACES_PER_TRANSACTION = 500


def build_pairs(faces: QuerySet[Face]) -> Iterator[Step]:
    """Build all n(n-1)/2 pairs of each face's n hq and restored images (Sec. 3.1: six of four), without lq."""
    in_pairs = ~Q(candidates__source=Candidate.LQ)
    counted = faces.annotate(
        images=Count("candidates", filter=in_pairs, distinct=True), built=Count("pairs", distinct=True)
    )
    todo = counted.filter(built__lt=F("images") * (F("images") - 1) / 2).order_by("pk")
    for batch in batches(todo.iterator(chunk_size=FACES_PER_TRANSACTION), FACES_PER_TRANSACTION):
        yield Step(done=_build_batch([face.pk for face in batch]))


@transaction.atomic
def _build_batch(face_ids: list[int]) -> int:
    by_face: dict[int, list[Candidate]] = {}
    for candidate in Candidate.objects.filter(face__in=face_ids).exclude(source=Candidate.LQ).order_by("pk"):
        by_face.setdefault(candidate.face_id, []).append(candidate)
    existing = {frozenset(ends) for ends in Pair.objects.filter(face__in=face_ids).values_list("first_id", "second_id")}
    pairs = [
        _pair(one, other)
        for candidates in by_face.values()
        for one, other in combinations(candidates, 2)
        if frozenset((one.pk, other.pk)) not in existing
    ]
    return len(Pair.objects.bulk_create(pairs, ignore_conflicts=True))


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
