"""Print the token of the newest invitation as JSON: `python -m tests.support.invitation`."""

import json

import django

django.setup()

from annotate.models import Invitation  # noqa: E402

print(json.dumps({"token": Invitation.objects.latest("pk").token}))
