"""Steps before the first pair: consent, tutorial, qualification. Each campaign chooses its own.

The paper's annotators were instructed (App. A.1); the texts here are the campaign's own.
"""

import hashlib
import math

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from annotate.common import randomness
from annotate.common.prepared import Prepared
from annotate.common.refusals import Refused
from annotate.models import Campaign, Membership, Pair, Trial, User

TOO_FEW_KNOWN_PAIRS = "too_few_known_pairs"
CONSENT, TUTORIAL, QUALIFICATION, GUIDELINE = "consent", "tutorial", "qualification", "guideline"
REQUIREMENTS = {
    CONSENT: gettext_lazy("Read the consent text and agree to it before the first pair."),
    TUTORIAL: gettext_lazy("Read the tutorial before the first pair."),
    QUALIFICATION: gettext_lazy("Pass the qualification round before the first pair."),
}


def next_step(membership: Membership) -> str | None:
    """Return the first step still to do: consent, tutorial or qualification. None if ready to judge."""
    campaign = membership.campaign
    if campaign.consent and membership.consent_sha256 != consent_sha256(campaign):
        return CONSENT
    if campaign.tutorial and membership.tutored_at is None:
        return TUTORIAL
    if campaign.qualification_size and membership.qualified_at is None:
        return QUALIFICATION
    return None


def next_page(membership: Membership) -> str | None:
    """Return the first page still to see: that of the next step, or the guideline. Programs open no guideline."""
    campaign = membership.campaign
    is_read = not campaign.guideline_first or membership.guideline_opened_at or membership.seen
    return next_step(membership) or (None if is_read else GUIDELINE)


def open_guideline(*, annotator: User, campaign: Campaign) -> None:
    """Store when a member opened the guideline for the first time."""
    opened = Membership.objects.current().filter(annotator=annotator, campaign=campaign, guideline_opened_at=None)
    opened.update(guideline_opened_at=timezone.now())


def require_ready(membership: Membership) -> None:
    if step := next_step(membership):
        raise Refused(f"{step}_needed", str(REQUIREMENTS[step]))


def consent_sha256(campaign: Campaign) -> str:
    """Hash the consent text: a changed text needs a new consent."""
    return hashlib.sha256(campaign.consent.encode()).hexdigest()


_MEMBERSHIP = Prepared(
    lambda annotator, campaign: (
        Membership.objects.current()
        .select_related("campaign")
        .filter(annotator_id=annotator, campaign_id=campaign)[:1]
    ),
    annotator=int, campaign=int,
)  # fmt: skip


def membership_of(*, annotator: User, campaign: Campaign) -> Membership | None:
    return _MEMBERSHIP.first(annotator=annotator.pk, campaign=campaign.pk)


def agree(*, membership: Membership, sha256: str) -> None:
    """Store the consent to the text with this hash. Raises `Refused` if the text has changed since."""
    if sha256 != consent_sha256(membership.campaign):
        raise Refused("text_changed", _("The text has changed in the meantime. Please read it again."))
    Membership.objects.filter(pk=membership.pk).update(consent_sha256=sha256, consented_at=timezone.now())


def finish_tutorial(*, membership: Membership) -> None:
    Membership.objects.filter(pk=membership.pk, tutored_at=None).update(tutored_at=timezone.now())


@transaction.atomic
def current_trial(*, membership: Membership) -> Trial | None:
    """Return the pair to answer now, after drawing a new round if one is due. None if passed or out of rounds."""
    membership = Membership.objects.select_for_update(of=("self",)).select_related("campaign").get(pk=membership.pk)
    if membership.qualified_at:
        return None
    trials = membership.trials.select_related("pair__face", "pair__first", "pair__second")
    open_trial = trials.filter(choice="").order_by("round", "number").first()
    if open_trial:
        return open_trial
    rounds = membership.trials.order_by("-round").values_list("round", flat=True).first() or 0
    if rounds >= membership.campaign.qualification_rounds:
        return None
    _draw_round(membership, rounds + 1)
    return trials.filter(choice="").order_by("round", "number").first()


def _draw_round(membership: Membership, number: int) -> None:
    campaign = membership.campaign
    pairs = list(
        known_pairs(campaign).exclude(pk__in=membership.trials.values("pair")).values_list("pk", flat=True)[:5000]
    )
    if len(pairs) < campaign.qualification_size:
        raise Refused(
            TOO_FEW_KNOWN_PAIRS,
            _("Only %(left)d pairs with a known answer are left, but a round needs %(needed)d. Tell the lead.")
            % {"left": len(pairs), "needed": campaign.qualification_size},
        )
    order = f"{campaign.seed}/trial/{membership.annotator_id}/{number}"
    pairs.sort(key=lambda pair: randomness.uniform(f"{order}/{pair}"))
    Trial.objects.bulk_create(
        Trial(
            membership=membership,
            round=number,
            number=place,
            pair_id=pair,
            left_is_first=randomness.uniform(f"{order}/{pair}/side") < 0.5,
        )
        for place, pair in enumerate(pairs[: campaign.qualification_size])
    )


def known_pairs(campaign: Campaign) -> QuerySet[Pair]:
    """Return anchored pairs of training faces, so that gold answers stay unseen.

    Faces that the campaign asks about are used only if there are no others.
    """
    asked = campaign.items.values("pair__face")
    anchored = Pair.objects.different().filter(kind=Pair.Kind.ANCHORED, face__split="train")
    others = anchored.exclude(face__in=asked)
    return (others if others.exists() else anchored).order_by("pk")


def require_known_pairs(campaign: Campaign, size: int) -> None:
    """Raise `Refused` if there are too few pairs with a known answer for a round of this size."""
    known = known_pairs(campaign)[:size].count() if size else 0
    if known < size:
        raise Refused(
            TOO_FEW_KNOWN_PAIRS,
            ngettext(
                "A round needs pairs with the photograph of training faces, of which there is %(n)s. Faces without a "
                "photograph have none. Enter at most %(n)s pairs; 0 means no qualification.",
                "A round needs pairs with the photograph of training faces, of which there are %(n)s. Faces without a "
                "photograph have none. Enter at most %(n)s pairs; 0 means no qualification.",
                known,
            )
            % {"n": known},
        )


@transaction.atomic
def answer_trial(*, membership: Membership, trial_id: int, choice: str) -> Trial:
    """Store the first answer to a trial. After a round's last answer, check whether the round was passed."""
    membership = Membership.objects.select_for_update(of=("self",)).select_related("campaign").get(pk=membership.pk)
    trial = membership.trials.select_related("pair__first", "pair__second").filter(pk=trial_id).first()
    if trial is None:
        raise Refused("no_such_trial", _("This pair is not part of your qualification."))
    if trial.choice:
        return trial
    trial.choice, trial.answered_at = choice, timezone.now()
    trial.save()
    trials = round_of(membership=membership, number=trial.round)
    if all(one.choice for one in trials) and is_passed(trials, membership.campaign):
        Membership.objects.filter(pk=membership.pk).update(qualified_at=timezone.now())
    return trial


def round_of(*, membership: Membership, number: int) -> list[Trial]:
    return list(membership.trials.filter(round=number).select_related("pair__first", "pair__second").order_by("number"))


def is_passed(trials: list[Trial], campaign: Campaign) -> bool:
    return sum(trial.is_right for trial in trials) >= needed(len(trials), campaign)


def needed(size: int, campaign: Campaign) -> int:
    """Return the number of correct answers that a round of this size requires."""
    return math.ceil(campaign.qualification_share * size - 1e-9)
