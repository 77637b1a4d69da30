"""What pages and the API show of a campaign, the predictor and the stages. Costs do not grow with the items."""

from dataclasses import dataclass

from django.db.models import Count, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from annotate.models import (
    Campaign,
    Judgement,
    Lease,
    Membership,
    Predictor,
    RefitRequest,
    StageRun,
    User,
)

DEMO = "demo"


def campaigns_of(user: User) -> list[Campaign]:
    return list(Campaign.objects.filter(memberships__annotator=user).order_by("-open", "name"))


@dataclass(frozen=True)
class Progress:
    answered: int  # by this annotator, mirrored repeats included
    skipped: int
    today: int  # answered by this annotator since midnight
    items: int
    answers: int  # by everyone
    answers_wanted: int
    seconds_per_answer: float | None  # median of the annotator's last answers

    @property
    def share(self) -> float:
        return self.answers / self.answers_wanted if self.answers_wanted else 0.0

    @property
    def remaining(self) -> int:
        return max(0, self.answers_wanted - self.answers)


RECENT = 20


def progress_of(*, annotator: User, campaign: Campaign) -> Progress:
    own = Membership.objects.filter(annotator=annotator, campaign=campaign).first()
    answers = Membership.objects.filter(campaign=campaign).aggregate(n=Coalesce(Sum("answered"), 0))["n"]
    answered = Lease.objects.filter(annotator=annotator, item__campaign=campaign, status=Lease.Status.ANSWERED)
    seconds = sorted(
        value
        for value in answered.order_by("-closed_at").values_list("judgement__seconds", flat=True)[:RECENT]
        if value is not None
    )
    return Progress(
        answered=own.answered + own.repeated if own else 0,
        today=answered.filter(closed_at__gte=timezone.localtime().replace(hour=0, minute=0, second=0)).count(),
        skipped=own.skipped if own else 0,
        items=campaign.item_count,
        answers=answers,
        answers_wanted=campaign.item_count * campaign.overlap,
        seconds_per_answer=seconds[len(seconds) // 2] if seconds else None,
    )


@dataclass(frozen=True)
class PredictorStatus:
    version: Predictor | None
    waiting: bool  # there are answers it has not seen
    refitting: bool
    note: str
    failed: Predictor | None  # a newer version that failed


def current_predictor() -> Predictor | None:
    return Predictor.objects.filter(status=Predictor.Status.READY).order_by("-pk").first()


def newest_judgement_id() -> int:
    return Judgement.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def labels_wait() -> bool:
    """Whether there are answers (or undos) that the current predictor has not seen."""
    current = current_predictor()
    return newest_judgement_id() > (current.last_judgement_id if current else 0)


def predictor_status() -> PredictorStatus:
    current = current_predictor()
    newer = Predictor.objects.filter(status=Predictor.Status.FAILED, pk__gt=current.pk if current else 0)
    request = RefitRequest.objects.filter(pk=1).first()
    return PredictorStatus(
        version=current,
        waiting=labels_wait(),
        refitting=bool(request and request.running_until and request.running_until > timezone.now()),
        note=request.note if request else "",
        failed=newer.order_by("-pk").first(),
    )


def demo_run() -> StageRun | None:
    return StageRun.objects.filter(stage=DEMO).order_by("-pk").first()


def preference_counts() -> dict[str, int]:
    from annotate.models import Preference

    counts = dict(Preference.objects.order_by().values_list("origin").annotate(Count("pk")))
    return {label: counts.get(value, 0) for value, label in Preference.Origin.choices}


def metric_columns() -> list[dict]:
    """The paper's six metrics with how many candidates have each, and the remedy where one cannot be computed."""
    from annotate.models import Candidate, Score
    from rewardlab.metrics import METRICS, PAPER_METRICS, availability

    in_pairs = Score.objects.exclude(candidate__source=Candidate.LQ)
    scored = dict(in_pairs.order_by().values_list("metric").annotate(Count("pk")))
    wanted = Candidate.objects.exclude(source=Candidate.LQ).count()
    return [
        {"metric": METRICS[name], "scored": scored.get(name, 0), "wanted": wanted, "remedy": availability(name)}
        for name in PAPER_METRICS
    ]
