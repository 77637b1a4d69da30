"""Checks of `manage.py check --deploy`."""

from typing import Any

from django.conf import settings
from django.core import checks

from annotate.common import private_files


@checks.register(checks.Tags.security, deploy=True)
def private(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    return [
        checks.Warning(
            f"Others on this machine can read or change {loose}.",
            hint="Run manage.py migrate, which takes these permissions away, or set UMASK if a group shall share it.",
            id="annotate.W001",
        )
        for loose in private_files.find_loose()
    ]


@checks.register(checks.Tags.security, deploy=True)
def proxy(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    if settings.BEHIND_TLS_PROXY or not settings.PRODUCTION:
        return []
    return [
        checks.Warning(
            "BEHIND_TLS_PROXY is off. Behind a proxy, everyone would then have one address for the limits on wrong "
            "passwords and on joining.",
            hint="Set BEHIND_TLS_PROXY=on if the proxy is yours and sets X-Forwarded-For and X-Forwarded-Proto itself.",
            id="annotate.W002",
        )
    ]
