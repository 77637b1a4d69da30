"""Image examples of the three rules in a campaign's guideline: two restorations each, with the deciding fault circled.

A lead chooses them. Until then they are pairs on which people agree by the rule, or else a photograph and a restoration
that metrics suggest.
"""

from django.db import transaction
from django.db.models import Avg, Exists, OuterRef, QuerySet
from django.utils.translation import gettext as _

from annotate.common import audit_log
from annotate.common.refusals import Refused
from annotate.desk.example_notes import NOTES
from annotate.labels.agreed_pairs import agreed_pairs
from annotate.models import Campaign, Candidate, Example, Face, Item, Pair, Score, User
from annotate.models.campaigns import Criterion
from annotate.models.faces import Split

Images = tuple[Candidate, Candidate]  # better, worse


@transaction.atomic
def choose_examples(*, campaign: Campaign) -> int:
    """Propose an example for each rule that has none, or only a proposed one without a circle. Returns the number of
    examples. There is none for a rule for which no pair is known to lose by it alone.

    Prefers faces that the campaign does not ask about, if there are enough.
    """
    faces = Face.objects.exclude(pairs__items__campaign=campaign)
    if faces.filter(split=Split.TEST).count() < len(Criterion):
        faces = Face.objects.all()
    used: list[int] = []
    for criterion in (Criterion.TEXT, Criterion.REALISM, Criterion.DETAIL):
        if campaign.examples.filter(criterion=criterion, x__isnull=False).exists():
            continue
        images = _agreed(campaign, criterion) or _by_metrics(criterion, faces.exclude(pk__in=used))
        if images is None:
            continue
        better, worse = images
        used.append(worse.face_id)
        note = NOTES[criterion].format(caption=worse.face.caption)
        Example.objects.update_or_create(
            campaign=campaign, criterion=criterion, defaults={"better": better, "worse": worse, "note": note}
        )
    return campaign.examples.count()


def _agreed(campaign: Campaign, criterion: Criterion) -> Images | None:
    """Return a pair on which people agree by this rule, and that the campaign does not ask about."""
    asked = campaign.items.values("pair")
    for found in agreed_pairs(criterion=criterion):
        pair = Pair.objects.select_related("first__face", "second__face").filter(pk=found.pair)
        if chosen := pair.exclude(pk__in=asked).first():
            return (chosen.first, chosen.second) if found.better == "first" else (chosen.second, chosen.first)
    return None


def _by_metrics(criterion: Criterion, faces: QuerySet[Face]) -> Images | None:
    """Return a photograph and a restoration of it that loses by this rule. No metric tells which of two restorations
    does, nor whether an image loses by its text alone.

    Realism: among the sharp images of networks (NIQE below their average), the one furthest from the photograph
    (highest LPIPS). Detail: the image of a classical restorer that is closest to it (highest SSIM): intact but smooth.
    """
    photograph = Candidate.objects.filter(face=OuterRef("face"), source=Candidate.HQ, sha256=OuterRef("sha256"))
    restored = Candidate.objects.filter(~Exists(photograph), face__in=faces, restorer__isnull=False)
    restored = restored.select_related("face")
    worse = None
    if criterion == Criterion.REALISM:
        networks = restored.filter(restorer__kind="network")
        average = Score.objects.filter(candidate__in=networks, metric="niqe").aggregate(n=Avg("value"))["n"] or 0
        sharp = networks.filter(pk__in=Score.objects.filter(metric="niqe", value__lte=average).values("candidate"))
        worse = sharp.filter(scores__metric="lpips").order_by("-scores__value").first()
    elif criterion == Criterion.DETAIL:
        smooth = restored.filter(restorer__kind="classical", scores__metric="ssim")
        worse = smooth.order_by("-scores__value").first()
    return (Candidate.objects.get(face=worse.face_id, source=Candidate.HQ), worse) if worse else None


@transaction.atomic
def store_example(
    *, campaign: Campaign, criterion: str, pair: Pair, better: str, note: str,
    circle: tuple[float, float, float] | None, actor: User,
) -> Example:  # fmt: skip
    """Store a lead's example of a rule, in place of the present one. better: first or second; circle: x, y and radius
    in the worse image, in shares of its size. Raises `Refused` for a pair whose answer is still to be given."""
    if Item.objects.filter(pair=pair, campaign__gold_set__isnull=False).exists():
        raise Refused("gold_pair", _("Pair %(n)s is in a gold set. Choose another pair.") % {"n": pair.pk})
    if campaign.items.filter(pair=pair).filter(open_slots__gt=0).exists():
        raise Refused(
            "open_pair",
            _("Pair %(n)s still waits for answers in this campaign: the example would give them away.")
            % {"n": pair.pk},
        )
    if campaign.items.checks().filter(pair=pair).exists():
        raise Refused("check_pair", _("Pair %(n)s is an attention check of this campaign.") % {"n": pair.pk})
    images = (pair.first, pair.second) if better == "first" else (pair.second, pair.first)
    x, y, radius = circle or (None, None, None)
    example, _created = Example.objects.update_or_create(
        campaign=campaign,
        criterion=criterion,
        defaults={"better": images[0], "worse": images[1], "note": note, "x": x, "y": y, "radius": radius},
    )
    audit_log.record(actor=actor, action="store-example", target=campaign, rule=criterion, pair=pair.pk)
    return example


@transaction.atomic
def remove_example(*, campaign: Campaign, criterion: str, actor: User) -> None:
    if campaign.examples.filter(criterion=criterion).delete()[0]:
        audit_log.record(actor=actor, action="remove-example", target=campaign, rule=criterion)
