"""Campaigns, who is in them, and the picture examples of their guideline."""

import re
from collections.abc import Iterable

from django.db import transaction
from django.db.models import Avg

from annotate.models import Campaign, Candidate, Example, Face, Item, Lease, Membership, Pair, Score, User
from annotate.models.campaigns import Criterion
from annotate.models.faces import Split
from annotate.services import pairing


def invite(*, campaign: Campaign, annotators: Iterable[User]) -> int:
    """Make them members; those who are already stay as they are."""
    rows = [Membership(campaign=campaign, annotator=annotator) for annotator in annotators]
    return len(Membership.objects.bulk_create(rows, ignore_conflicts=True))


def add_contested_pairs(*, campaign: Campaign) -> int:
    """All contested pairs of training and gold faces, and the guideline's examples if there are none. Returns how
    many items are new. Test faces are kept for later measuring."""
    asked = Pair.objects.filter(kind=Pair.Kind.CONTESTED, face__split__in=[Split.TRAIN, Split.GOLD])
    added = pairing.add_items(campaign=campaign, pairs=asked)
    if not campaign.examples.exists():
        choose_examples(campaign=campaign)
    return added


def set_open(*, campaign: Campaign, is_open: bool) -> None:
    Campaign.objects.filter(pk=campaign.pk).update(open=is_open)


@transaction.atomic
def release_leases(*, campaign: Campaign) -> int:
    """Give every held item of the campaign back, for annotators who left. Answers are untouched."""
    held = Lease.objects.select_for_update(of=("self",)).filter(item__campaign=campaign, status=Lease.Status.HELD)
    released = 0
    for lease in held.order_by("item_id"):
        Lease.objects.filter(pk=lease.pk).update(status=Lease.Status.EXPIRED)
        item = Item.objects.select_for_update().get(pk=lease.item_id)
        Item.objects.filter(pk=item.pk).update(open_slots=item.open_slots + 1)
        released += 1
    return released


NOTES = {
    Criterion.REALISM: "One has grain and structure that no photograph of a face has: look at skin, eyes and mouth.",
    Criterion.DETAIL: "Nothing is broken in either, but one is smooth where skin, hair and lashes should be.",
    Criterion.TEXT: "Suppose rules 1 and 2 left you undecided. The text says: “{caption}” One image shows less of it.",
}


@transaction.atomic
def choose_examples(*, campaign: Campaign) -> int:
    """Picture examples of the three rules: the photograph against a restored image, from faces that are not
    asked about, where there are enough of those.

    Realism: of what networks made sharp (NIQE below their average), the furthest from the photograph (LPIPS).
    Detail: the closest that a classical restorer comes (highest SSIM): intact and smooth. Text: the closest that
    a network comes to the face whose text gives the highest age, since lines go first.
    """
    faces = Face.objects.exclude(pairs__items__campaign=campaign)
    if faces.filter(split=Split.TEST).count() < len(Criterion):
        faces = Face.objects.all()
    restored = Candidate.objects.filter(face__in=faces, restorer__isnull=False).select_related("face")
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
