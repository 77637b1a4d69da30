"""Results of qualification rounds, and the estimated duration of a campaign."""

from dataclasses import dataclass

from annotate.desk import onboarding
from annotate.models import Campaign, Judgement, Membership, Trial

RECENT = 500


@dataclass(frozen=True)
class Result:
    """Result of the last completed round."""

    trials: list[Trial]
    passed: bool
    needed: int
    rounds_left: int

    @property
    def right(self) -> int:
        return sum(trial.is_right for trial in self.trials)


def last_completed_round(membership: Membership) -> int | None:
    """Return the number of the last round in which every pair is answered."""
    current = membership.trials.filter(choice="").values_list("round", flat=True).first()
    completed = membership.trials.exclude(round=current) if current else membership.trials
    return completed.order_by("-round").values_list("round", flat=True).first()


def result(membership: Membership) -> Result | None:
    number = last_completed_round(membership)
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


def minutes_needed(campaign: Campaign, comparisons: int) -> int | None:
    """Estimate the minutes that one person needs, from the median answer time; None below 20 answers."""
    newest = Judgement.objects.filter(lease__item__campaign=campaign).order_by("-pk")
    seconds = sorted(value for value in newest.values_list("seconds", flat=True)[:RECENT] if value is not None)
    if len(seconds) < 20:
        return None
    return max(1, round(comparisons * seconds[len(seconds) // 2] / 60))
