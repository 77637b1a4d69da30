"""Request refits of the predictor, so that many answers cause one queued task."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django_q.tasks import async_task

from annotate.models import RefitRequest
from annotate.predictor import status as predictor_status

# A refit queued for longer than this is requested again: the broker may have lost it.
LOST_AFTER = timedelta(minutes=2)
REFITTING_FOR = timedelta(minutes=2)  # a refit that runs longer is considered killed, and another may start


def request_refit() -> None:
    """Queue a refit unless one is queued already. Call it inside the transaction that stores the label.

    The database broker shares that transaction; Redis receives the task after the commit.
    """
    now = timezone.now()
    waiting = RefitRequest.objects.filter(_none_is_queued(now), pk=1)
    if not waiting.update(queued_at=now):
        return
    if settings.BROKER_URL:
        transaction.on_commit(_enqueue)
    else:
        _enqueue()


def _none_is_queued(now: datetime) -> Q:
    """Match a request that is not queued, that was lost, or whose time lies in the future: the clock was wrong."""
    return Q(queued_at=None) | Q(queued_at__lt=now - LOST_AFTER) | Q(queued_at__gt=now + LOST_AFTER)


def is_free(until: str, now: datetime, duration: timedelta) -> Q:
    """Match a lock that nobody holds, that has expired, or that was taken when the clock was wrong."""
    return Q(**{until: None}) | Q(**{f"{until}__lt": now}) | Q(**{f"{until}__gt": now + duration + LOST_AFTER})


def request_lost_refit() -> bool:
    """Request the refit for answers that no attempt has considered, although none is queued or running: the task was
    lost with a killed worker or an emptied queue. Return whether there were any."""
    now = timezone.now()
    newest = predictor_status.newest_judgement_id()
    lost = RefitRequest.objects.filter(
        _none_is_queued(now), is_free("running_until", now, REFITTING_FOR),
        pk=1, considered_judgement_id__lt=newest,
    )  # fmt: skip
    if not lost.exists():
        return False
    with transaction.atomic():
        request_refit()
    return True


def _enqueue() -> None:
    async_task("annotate.tasks.refit_predictor", group="refit", task_name="refit the predictor")


def take_refit_request() -> None:
    """Mark the request as taken by the worker: later answers request the next refit."""
    RefitRequest.objects.filter(pk=1).update(queued_at=None)
