"""How a qualification goes, and how long a campaign takes."""

from dataclasses import dataclass

from annotate.desk import onboarding
from annotate.models import Campaign, Judgement, Membership, Trial

RECENT = 500


@dataclass(frozen=True)
class Result:
    """The last round that was answered whole."""

    trials: list[Trial]
    passed: bool
    needed: int
    rounds_left: int

    @property
    def right(self) -> int:
        return sum(trial.is_right for trial in self.trials)


def round_that_ended(membership: Membership) -> int | None:
    """The number of the last round whose every pair is answered."""
    begun = membership.trials.filter(choice="").values_list("round", flat=True).first()
    ended = membership.trials.exclude(round=begun) if begun else membership.trials
    return ended.order_by("-round").values_list("round", flat=True).first()


def result(membership: Membership) -> Result | None:
    number = round_that_ended(membership)
    if number is None:
        return None
    campaign = membership.campaign
    trials = onboarding.round_of(membership=membership, number=number)
    return Result(
        trials=trials,
        passed=onboarding.is_passed(trials, campaign),
        needed=onboarding.needed(len(trials), campaign),
        rounds_left=max(0, campaign.qualification_rounds - number),
    )


def minutes_needed(campaign: Campaign) -> int | None:
    """How long all its items take one person, by the median of what was answered so far; None if too little was."""
    newest = Judgement.objects.filter(lease__item__campaign=campaign).order_by("-pk")
    seconds = sorted(value for value in newest.values_list("seconds", flat=True)[:RECENT] if value is not None)
    if len(seconds) < 20:
        return None
    return max(1, round(campaign.item_count * seconds[len(seconds) // 2] / 60))
