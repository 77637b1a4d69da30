from django.apps import AppConfig


class AnnotateConfig(AppConfig):
    name = "annotate"
    verbose_name = "DiffusionReward"

    def ready(self) -> None:
        from annotate.common import task_queue

        task_queue.restrict_pickles()
