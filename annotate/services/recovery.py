"""What an earlier start left undone, queued anew. Called before the worker starts, when no task can be running."""

from django_q.brokers import get_broker
from django_q.tasks import async_task

from annotate.models import RefitRequest, StageRun
from annotate.selectors.progress import demo_run, labels_wait
from annotate.services import refits


def queue_leftover_work() -> None:
    """Tasks that were cut off stay locked in the queue for an hour; every task can be run again, so start afresh."""
    get_broker().purge_queue()
    RefitRequest.objects.update_or_create(
        pk=1, defaults={"queued_at": None, "running_until": None, "searching_until": None}
    )
    run = demo_run()
    if run and run.total and run.done < run.total:
        StageRun.objects.filter(pk=run.pk).update(state=StageRun.State.RUNNING, error="")
        async_task("annotate.tasks.prepare_demo", group="demo", task_name="prepare the demo")
    if labels_wait():
        refits.request_refit()
