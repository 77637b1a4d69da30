"""Image examples of the three rules in a campaign's guideline."""

import re

from django.db import transaction
from django.db.models import Avg, Exists, OuterRef

from annotate.desk.example_notes import NOTES
from annotate.models import Campaign, Candidate, Example, Face, Score
from annotate.models.campaigns import Criterion
from annotate.models.faces import Split


@transaction.atomic
def choose_examples(*, campaign: Campaign) -> int:
    """Choose an example for each rule: the photograph against a restored image. Prefers faces that the campaign does
    not ask about, if there are enough. Returns the number of examples.

    Realism: among the sharp images of networks (NIQE below their average), the one furthest from the photograph
    (highest LPIPS). Detail: the image of a classical restorer that is closest to it (highest SSIM): intact but smooth.
    Text: the image of a network that is closest to the photograph of the oldest face by its text, since wrinkles are
    lost first.
    """
    faces = Face.objects.exclude(pairs__items__campaign=campaign)
    if faces.filter(split=Split.TEST).count() < len(Criterion):
        faces = Face.objects.all()
    photograph = Candidate.objects.filter(face=OuterRef("face"), source=Candidate.HQ, sha256=OuterRef("sha256"))
    restored = Candidate.objects.filter(~Exists(photograph), face__in=faces, restorer__isnull=False)
    restored = restored.select_related("face")
    by_networks = restored.filter(restorer__kind="network")
    average = Score.objects.filter(candidate__in=by_networks, metric="niqe").aggregate(mean=Avg("value"))["mean"] or 0
    sharp = by_networks.filter(pk__in=Score.objects.filter(metric="niqe", value__lte=average).values("candidate"))
    oldest = max(faces.exclude(caption=""), key=_age_in_text, default=None)
    used: list[int] = []
    for criterion, candidates in {
        Criterion.TEXT: by_networks.filter(face=oldest, scores__metric="ssim").order_by("-scores__value"),
        Criterion.REALISM: sharp.filter(scores__metric="lpips").order_by("-scores__value"),
        Criterion.DETAIL: restored.filter(restorer__kind="classical", scores__metric="ssim").order_by("-scores__value"),
    }.items():
        worse = candidates.exclude(face__in=used).first()
        if worse is None:
            continue
        used.append(worse.face_id)
        Example.objects.update_or_create(
            campaign=campaign,
            criterion=criterion,
            defaults={
                "better": Candidate.objects.get(face=worse.face_id, source=Candidate.HQ),
                "worse": worse,
                "note": NOTES[criterion].format(caption=worse.face.caption),
            },
        )
    return len(used)


def _age_in_text(face: Face) -> int:
    return max((int(number) for number in re.findall(r"\b\d{1,2}\b", face.caption)), default=0)
