"""Request refits of the predictor, so that many answers cause one queued task."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django_q.tasks import async_task

from annotate.models import RefitRequest
from annotate.predictor import status as predictor_status

# A refit queued for longer than this is requested again: the broker may have lost it.
LOST_AFTER = timedelta(minutes=2)


def request_refit() -> None:
    """Queue a refit unless one is queued already. Call it inside the transaction that stores the label.

    The database broker shares that transaction; Redis receives the task after the commit.
    """
    now = timezone.now()
    waiting = RefitRequest.objects.filter(Q(queued_at=None) | Q(queued_at__lt=now - LOST_AFTER), pk=1)
    if not waiting.update(queued_at=now):
        return
    if settings.BROKER_URL:
        transaction.on_commit(_enqueue)
    else:
        _enqueue()


def request_lost_refit() -> bool:
    """Request the refit for answers that no attempt has considered, although none is queued or running: the task was
    lost with a killed worker or an emptied queue. Return whether there were any."""
    now = timezone.now()
    newest = predictor_status.newest_judgement_id()
    lost = RefitRequest.objects.filter(
        Q(queued_at=None) | Q(queued_at__lt=now - LOST_AFTER),
        Q(running_until=None) | Q(running_until__lt=now),
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
