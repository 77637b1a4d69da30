"""The token of the newest invitation: `python -m tests.support.invitation` prints JSON."""

import json

import django

django.setup()

from annotate.models import Invitation  # noqa: E402

print(json.dumps({"token": Invitation.objects.latest("pk").token}))
