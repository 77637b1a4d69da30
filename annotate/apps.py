from django.apps import AppConfig
from django.core import checks


class AnnotateConfig(AppConfig):
    name = "annotate"
    verbose_name = "DiffusionReward"

    def ready(self) -> None:
        from annotate.common.database_check import check_server
        from annotate.web import sentry

        checks.register(check_server, checks.Tags.database)
        sentry.start()
