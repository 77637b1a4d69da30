"""Protect the gold set: nothing may train on its faces, people or pictures."""

from collections.abc import Iterable, Iterator

from annotate.common.batches import batches
from annotate.models import Candidate, Face, GoldSet, Item
from annotate.models.faces import Split

BATCH = 500


class GoldLeak(ValueError):
    """A face, person or picture of the gold set is in the training data."""


def gold_faces() -> dict[int, str]:
    """Return face -> identity for all faces of split gold, and for faces of gold sets whose split has changed since."""
    asked = Item.objects.filter(campaign__in=list(GoldSet.objects.values_list("campaign", flat=True)))
    faces = dict(Face.objects.filter(split=Split.GOLD).values_list("pk", "identity"))
    return faces | dict(Face.objects.filter(pk__in=asked.values("pair__face")).values_list("pk", "identity"))


def refuse_gold_in_training() -> None:
    """Raise `GoldLeak` if a training face, its person or one of its pictures is in the gold set.

    Queries are batched: a single one takes seconds on PostgreSQL before it has table statistics.
    """
    gold = gold_faces()
    for what, field, values in (
        ("is in a gold set", "pk__in", gold),
        ("shows a person of the gold set", "identity__in", dict.fromkeys(gold.values())),
        ("shares a picture with the gold set", "candidates__sha256__in", _pictures(gold)),
    ):
        for part in batches(values, BATCH):
            if face := Face.objects.filter(split=Split.TRAIN, **{field: part}).order_by("pk").first():
                raise GoldLeak(
                    f"Face {face.pk} (identity {face.identity}) is in split train and {what}. Nothing may train on "
                    "gold faces: put all photographs of a person into one split (ingest them again with "
                    "--identity-from), then repeat the command."
                )


def _pictures(faces: Iterable[int]) -> Iterator[str]:
    for part in batches(faces, BATCH):
        shown = Candidate.objects.filter(face__in=part).exclude(source=Candidate.LQ)
        yield from shown.values_list("sha256", flat=True)
