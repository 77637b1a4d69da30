"""Faces without ground truth: pictures of low quality, such as LFW-Test, of which no photograph exists."""

from django.db.models import Exists, OuterRef, QuerySet

from annotate.models import Candidate, Face

_PHOTOGRAPH = Candidate.objects.filter(face=OuterRef("pk"), source=Candidate.HQ)


def with_original(faces: QuerySet[Face]) -> QuerySet[Face]:
    return faces.filter(Exists(_PHOTOGRAPH))


def without_original(faces: QuerySet[Face]) -> QuerySet[Face]:
    return faces.filter(~Exists(_PHOTOGRAPH))


def refusal(face: Face, what: str) -> str:
    """Say that something needs the photograph of a face that has none."""
    return f"{face} of data set {face.dataset} has no original; {what} needs one"


def lacking(face: Face, who_needs: str) -> str:
    """Say in a sentence why metrics have no value. Pages translate it (`annotate.common.stored_text`)."""
    return f"Face {face.pk} of data set {face.dataset} has no original, which {who_needs}."


def of_sets(faces: QuerySet[Face]) -> str:
    """Return the number of faces and their data sets in words."""
    count = faces.count()
    names = ", ".join(sorted(set(faces.values_list("dataset__name", flat=True))))
    return f"{count} face{'' if count == 1 else 's'} of {names}"
