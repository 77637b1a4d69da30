"""Delete a face, or all faces of a person, with everything that depends on them. People may ask for it.

What was already written elsewhere stays: exports, snapshots, trained models, backups. The page says so.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from types import SimpleNamespace

from django.apps import apps
from django.db import connection, transaction
from django.db.models import F, QuerySet

from annotate.agreement import gold_hashes
from annotate.common import audit_log, image_store
from annotate.models import (
    Campaign,
    Candidate,
    Face,
    GoldSet,
    Item,
    Judgement,
    Lease,
    Membership,
    Pair,
    Snapshot,
    Trial,
    User,
)

LIFT = {
    "sqlite": ("DROP TRIGGER annotate_judgement_no_delete",),
    "postgresql": ("ALTER TABLE annotate_judgement DISABLE TRIGGER annotate_judgement_append_only",),
}


@dataclass(frozen=True)
class Erasure:
    """What is deleted. gold_sets: frozen ones, whose hash is computed again."""

    faces: int
    images: int
    pairs: int
    judgements: int
    gold_sets: list[str]
    snapshots: list[str]


def faces_of(face: Face, *, whole_person: bool) -> list[Face]:
    return list(Face.objects.filter(identity=face.identity)) if whole_person else [face]


def planned(faces: list[Face]) -> Erasure:
    gold_sets = GoldSet.objects.filter(campaign__items__pair__face__in=faces).distinct()
    return Erasure(
        faces=len(faces),
        images=Candidate.objects.filter(face__in=faces).count(),
        pairs=Pair.objects.filter(face__in=faces).count(),
        judgements=Judgement.objects.filter(lease__item__pair__face__in=faces).count(),
        gold_sets=[gold_set.campaign.slug for gold_set in gold_sets.select_related("campaign")],
        snapshots=[f"{snapshot}" for snapshot in Snapshot.objects.order_by("pk")],
    )


@transaction.atomic
def erase(faces: list[Face], *, actor: User, reason: str = "") -> Erasure:
    """Delete the faces; their image files follow when that is committed."""
    done = planned(faces)
    images = set(Candidate.objects.filter(face__in=faces).values_list("sha256", flat=True))
    gold_sets = list(GoldSet.objects.filter(campaign__items__pair__face__in=faces).distinct())
    leases = Lease.objects.filter(item__pair__face__in=faces)
    campaigns = _counts(Item.objects.filter(pair__face__in=faces).values("campaign"))
    members = _answered(leases)
    with _append_only_lifted():
        leases.update(judgement=None, status=Lease.Status.EXPIRED)
        Judgement.objects.filter(lease__item__pair__face__in=faces).delete()
    Trial.objects.filter(pair__face__in=faces).delete()
    Face.objects.filter(pk__in=[face.pk for face in faces]).delete()
    for campaign, count in campaigns.items():
        Campaign.objects.filter(pk=campaign).update(item_count=F("item_count") - count)
    for (campaign, annotator), counts in members.items():
        less = {name: F(name) - number for name, number in counts.items()}
        Membership.objects.filter(campaign=campaign, annotator=annotator).update(**less)
    for gold_set in gold_sets:
        gold_hashes.hash_again(gold_set)
    audit_log.record(
        actor=actor,
        action="erase-faces",
        target=f"face {faces[0].pk}" if len(faces) == 1 else f"{len(faces)} faces of a person",
        faces=sorted(face.pk for face in faces),
        judgements=done.judgements,
        gold_sets=done.gold_sets,
        reason=reason,
    )
    transaction.on_commit(lambda: _delete_files(images))
    return done


def _delete_files(images: set[str]) -> None:
    used = set(Candidate.objects.filter(sha256__in=images).values_list("sha256", flat=True))
    for sha256 in sorted(images - used):
        image_store.delete(sha256)


def _counts(rows: QuerySet) -> dict[int, int]:
    return Counter(rows.values_list("campaign", flat=True))


def _answered(leases: QuerySet[Lease]) -> dict[tuple[int, int], Counter[str]]:
    """Count what each member gave on these leases: (campaign, annotator) -> answered, repeated, skipped."""
    counts: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for campaign, annotator, status, is_repeat in leases.values_list(
        "item__campaign", "annotator", "status", "is_repeat"
    ):
        if status == Lease.Status.ANSWERED:
            counts[campaign, annotator]["repeated" if is_repeat else "answered"] += 1
        elif status == Lease.Status.SKIPPED:
            counts[campaign, annotator]["skipped"] += 1
    return counts


@contextmanager
def _append_only_lifted() -> Iterator[None]:
    """Allow judgements to be deleted until the end of the block. The database has no such row otherwise.

    Triggers are changed inside the transaction: nobody else ever sees the table without them.
    """
    protection = import_module("annotate.migrations.0011_access")
    with connection.cursor() as cursor:
        connection.check_constraints()  # PostgreSQL refuses to change a table with checks to come
        for statement in LIFT[connection.vendor]:
            cursor.execute(statement)
        yield
        connection.check_constraints()
        protection.protect(apps, SimpleNamespace(execute=cursor.execute, connection=connection))
