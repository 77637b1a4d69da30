from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db.models.signals import post_migrate


class AnnotateConfig(AppConfig):
    name = "annotate"
    verbose_name = "DiffusionReward"

    def ready(self) -> None:
        from annotate.common import allowed_tasks
        from annotate.common.database_check import check_server
        from annotate.web import deployment_checks, sentry  # noqa: F401 - the former registers its checks

        allowed_tasks.restrict_pickles()
        checks.register(check_server, checks.Tags.database)
        post_migrate.connect(_tighten, sender=self)
        sentry.start()


def _tighten(stdout: Any = None, **kwargs: Any) -> None:
    from annotate.common import private_files

    for sentence in private_files.tighten_in_words():
        if stdout:
            stdout.write(f"{sentence}\n")
