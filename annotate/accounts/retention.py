"""Delete rows that are no longer needed. The worker does this once a day."""

from datetime import timedelta

from django.conf import settings
from django.contrib.sessions.models import Session
from django.utils import timezone
from django_q.models import Failure

from annotate.accounts import sign_in, tokens
from annotate.models import FailedSignIn, WorkerHeartbeat


def prune() -> dict[str, int]:
    """Return the number of deleted rows of each kind. Successful tasks are limited by django-q itself."""
    now = timezone.now()
    old = {
        "sessions": Session.objects.filter(expire_date__lt=now),
        "failed tasks": Failure.objects.filter(stopped__lt=now - timedelta(days=settings.FAILED_TASK_DAYS)),
        "failed sign-ins": FailedSignIn.objects.filter(at__lt=now - 2 * sign_in.WINDOW),
        "workers": WorkerHeartbeat.objects.filter(at__lt=now - timedelta(days=1)),
    }
    deleted = {name: rows.delete()[0] for name, rows in old.items()}
    return deleted | {"expired tokens": tokens.delete_expired()}
