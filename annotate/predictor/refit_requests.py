"""Asking for a refit of the predictor: many answers, one task in the queue."""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django_q.tasks import async_task

from annotate.models import RefitRequest

# A queued refit that no worker has taken for this long is asked for again: the broker may have lost it.
LOST_AFTER = timedelta(minutes=2)


def request_refit() -> None:
    """Queue one refit unless one waits already. Call inside the transaction that stores the label.

    The database broker shares that transaction; Redis is told after it has committed.
    """
    now = timezone.now()
    waiting = RefitRequest.objects.filter(Q(queued_at=None) | Q(queued_at__lt=now - LOST_AFTER), pk=1)
    if not waiting.update(queued_at=now):
        return
    if settings.BROKER_URL:
        transaction.on_commit(_enqueue)
    else:
        _enqueue()


def _enqueue() -> None:
    async_task("annotate.tasks.refit_predictor", group="refit", task_name="refit the predictor")


def take_refit_request() -> None:
    """The worker has it: answers that arrive from now on ask for the next one."""
    RefitRequest.objects.filter(pk=1).update(queued_at=None)
