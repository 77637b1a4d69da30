"""Background entry points. Heavy imports happen inside, in the worker, never in a web process."""

from django_q.tasks import async_task


def refit_predictor() -> int:
    """Refit until the newest answer is in; then see whether a whole grid search is due."""
    from annotate.services import predictors, refits

    refits.take_refit_request()
    done = predictors.refit_while_labels_wait()
    if done and predictors.grid_is_due():
        async_task("annotate.tasks.search_parameters", group="refit", task_name="search the grid")
    return done


def search_parameters() -> int | None:
    from annotate.services import predictors

    version = predictors.search_if_due()
    return version.pk if version else None


def prepare_demo() -> None:
    """The next part of the demo; queues itself again until everything is there."""
    from annotate.services import demo

    if demo.prepare_next_part():
        async_task("annotate.tasks.prepare_demo", group="demo", task_name="prepare the demo")
