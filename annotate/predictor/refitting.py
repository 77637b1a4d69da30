"""Refits and grid searches by the worker, one of each at a time."""

from datetime import timedelta

from django.utils import timezone

from annotate.models import Predictor, RefitRequest
from annotate.predictor import audit_sample
from annotate.predictor import status as predictor_status
from annotate.predictor.refit_requests import REFITTING_FOR, is_free
from annotate.predictor.simulated_labels import left_out_notice
from annotate.predictor.versions import fit_predictor, grid_is_due, last_searched
from rewardlab.predictor import svm

# A search that runs longer is considered killed, and another may start.
SEARCHING_FOR = timedelta(minutes=30)


def refit_while_labels_wait() -> int:
    """Refit until the newest answer is included; one refit runs at a time. Return the number of
    refits."""
    refits = 0
    while predictor_status.labels_wait():
        newest = predictor_status.newest_judgement_id()
        policy = audit_sample.policy()
        if policy.pinned_id:
            _note(f"Version {policy.pinned_id} is pinned by a rollback: newer answers wait until someone fits the SVM.")
            _consider(newest)
            return refits
        if not _acquire("running_until", REFITTING_FOR):
            return refits
        try:
            fit_predictor(grid=False if last_searched(policy) else None, manual=False)
            _note("")
            _consider(newest)
        except svm.TooFewLabels as error:
            _note(" ".join(filter(None, (str(error), left_out_notice()))))
            _consider(newest)
            return refits
        except Exception as error:
            _note(f"The last refit failed: {type(error).__name__}: {error}")
            _consider(newest)
            raise
        finally:
            RefitRequest.objects.filter(pk=1).update(running_until=None)
        refits += 1
    return refits


def search_if_due() -> Predictor | None:
    """Search the whole grid once labels have grown enough; one search at a time, in parallel with refits."""
    if audit_sample.policy().pinned_id or not grid_is_due() or not _acquire("searching_until", SEARCHING_FOR):
        return None
    try:
        return fit_predictor(grid=True, manual=False)
    except Exception as error:
        _note(f"The last grid search failed: {type(error).__name__}: {error}")
        raise
    finally:
        RefitRequest.objects.filter(pk=1).update(searching_until=None)


def _acquire(until: str, duration: timedelta) -> bool:
    now = timezone.now()
    free = RefitRequest.objects.filter(is_free(until, now, duration), pk=1)
    return bool(free.update(**{until: now + duration}))


def _note(text: str) -> None:
    RefitRequest.objects.filter(pk=1).update(note=text)


def _consider(judgement_id: int) -> None:
    """Record that an attempt to refit has come to an end with the answers up to this one."""
    RefitRequest.objects.filter(pk=1).update(considered_judgement_id=judgement_id)
