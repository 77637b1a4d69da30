"""Entry points of background tasks. Heavy modules are imported inside functions, so that only the worker loads them."""

from django_q.brokers import get_broker
from django_q.models import Schedule
from django_q.tasks import async_task

from annotate.common.allowed_tasks import TASKS
from annotate.models import RefitRequest, StageRun, Upload
from annotate.pipeline.stage import demo_run
from annotate.predictor import refit_requests
from annotate.predictor.status import labels_wait
from annotate.uploads import quarantine


def refit_predictor() -> int:
    """Refit until the newest answer is included, then queue a grid search if one is due."""
    from annotate.predictor import refit_requests, refitting, versions

    refit_requests.take_refit_request()
    done = refitting.refit_while_labels_wait()
    if done and versions.grid_is_due():
        async_task("annotate.tasks.search_parameters", group="refit", task_name="search the grid")
    return done


def search_parameters() -> int | None:
    from annotate.predictor import refitting

    version = refitting.search_if_due()
    return version.pk if version else None


def prepare_demo() -> None:
    """Prepare the next part of the demo; queues itself until the demo is complete."""
    from annotate.demo import portraits

    if portraits.prepare_next_part():
        async_task("annotate.tasks.prepare_demo", group="demo", task_name="prepare the demo")


def prune() -> dict[str, int]:
    """Delete rows that are no longer needed, see `annotate.accounts.retention`."""
    from annotate.accounts import retention

    return retention.prune()


def check_upload(pk: int) -> bool:
    """Check the photographs that a lead has sent; return whether some of them can be used."""
    from annotate.uploads import checking

    return checking.check(pk)


def queue_leftover_work(*, alone: bool) -> None:
    """Queue unfinished work again, when a worker starts: every task may safely run twice.

    alone: no other worker is running, so that whatever the queue holds as taken was interrupted and would stay locked
    for an hour. Otherwise the queue is kept.
    """
    if alone:
        get_broker().purge_queue()
        Schedule.objects.exclude(func__in=TASKS, hook=None).delete()  # refused when due, which blocks later ones
        RefitRequest.objects.update_or_create(
            pk=1, defaults={"queued_at": None, "running_until": None, "searching_until": None}
        )
        run = demo_run()
        if run and run.total and run.done < run.total:
            StageRun.objects.filter(pk=run.pk).update(state=StageRun.State.RUNNING, error="")
            async_task("annotate.tasks.prepare_demo", group="demo", task_name="prepare the demo")
        for upload in Upload.objects.filter(state=Upload.State.CHECKING):
            quarantine.request_check(upload)
    if labels_wait():
        refit_requests.request_refit()
