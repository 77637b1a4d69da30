"""Print the viewer tools that a user used for an answer, as JSON: `python -m tests.support.tools_used NAME`."""

import json
import sys

import django

django.setup()

from annotate.models import Judgement  # noqa: E402

print(json.dumps({"tools": Judgement.objects.get(lease__annotator__username=sys.argv[1]).tools}))
