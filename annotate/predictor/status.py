"""The state of the live predictor: its current version, and labels waiting for a refit."""

from dataclasses import dataclass

from django.db.models import QuerySet
from django.utils import timezone

from annotate.common import task_queue
from annotate.common.stored_text import translated
from annotate.labels.votes import counts_simulated
from annotate.models import Judgement, Predictor, RefitRequest


@dataclass(frozen=True)
class PredictorStatus:
    version: Predictor | None
    waiting: bool  # there are answers newer than this version
    refitting: bool
    note: str
    failed: Predictor | None  # a newer version that failed
    without_worker: bool  # answers wait, and no worker has reported recently


def current_predictor() -> Predictor | None:
    """Return the newest version. One that learned from simulated annotators is not used unless these count."""
    ready = Predictor.objects.filter(status=Predictor.Status.READY)
    if not counts_simulated():
        ready = ready.filter(simulated_labels=0)
    return ready.order_by("-pk").first()


def versions_with_labels() -> QuerySet[Predictor]:
    """Select the versions that can be made current: without simulated labels, unless these count."""
    done = Predictor.objects.filter(status__in=[Predictor.Status.READY, Predictor.Status.WITHDRAWN])
    return done if counts_simulated() else done.filter(simulated_labels=0)


def newest_judgement_id() -> int:
    """Return the newest answer (or undo) that counts as a label."""
    given = Judgement.objects.all()
    if not counts_simulated():
        given = given.filter(lease__annotator__simulated=False)
    return given.order_by("-pk").values_list("pk", flat=True).first() or 0


def labels_wait() -> bool:
    """Whether there are answers (or undos) newer than the current predictor, or other answers count now."""
    newest = Predictor.objects.filter(status=Predictor.Status.READY).order_by("-pk").first()
    if newest and newest.count_simulated != counts_simulated():
        return True
    return newest_judgement_id() > (newest.last_judgement_id if newest else 0)


def predictor_status() -> PredictorStatus:
    current = current_predictor()
    newer = Predictor.objects.filter(status=Predictor.Status.FAILED, pk__gt=current.pk if current else 0)
    request = RefitRequest.objects.filter(pk=1).first()
    waiting = labels_wait()
    return PredictorStatus(
        version=current,
        waiting=waiting,
        refitting=bool(request and request.running_until and request.running_until > timezone.now()),
        note=translated(request.note) if request else "",
        failed=newer.order_by("-pk").first(),
        without_worker=waiting and not task_queue.live_workers(),
    )
