"""Protect the gold set: nothing may train on its faces, people or pictures."""

from collections.abc import Iterable, Iterator

from annotate.common.batches import batches
from annotate.models import Candidate, Face, GoldSet, Item
from annotate.models.faces import Split

AT_ONCE = 500


class GoldLeak(ValueError):
    """A face, person or picture of the gold set is in the training data."""


def gold_faces() -> dict[int, str]:
    """Return face -> identity of all faces of split gold, and of those in a gold set whose split has changed since."""
    asked = Item.objects.filter(campaign__in=list(GoldSet.objects.values_list("campaign", flat=True)))
    faces = dict(Face.objects.filter(split=Split.GOLD).values_list("pk", "identity"))
    return faces | dict(Face.objects.filter(pk__in=asked.values("pair__face")).values_list("pk", "identity"))


def refuse_gold_in_training() -> None:
    """Raise `GoldLeak` if a training face, its person or one of its pictures is in the gold set.

    Queries are batched: a single one takes PostgreSQL seconds until it has table statistics.
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
                    f"Face {face.pk} (identity {face.identity}) is in split train and {what}. Nothing may train on "
                    "gold faces: give the person one split (ingest the photographs again with --identity-from), then "
                    "repeat the command."
                )


def _pictures(faces: Iterable[int]) -> Iterator[str]:
    for part in batches(faces, AT_ONCE):
        shown = Candidate.objects.filter(face__in=part).exclude(source=Candidate.LQ)
        yield from shown.values_list("sha256", flat=True)
