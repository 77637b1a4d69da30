"""What of the viewer was used for a user's answer: `python -m tests.support.tools_used NAME` prints JSON."""

import json
import sys

import django

django.setup()

from annotate.models import Judgement  # noqa: E402

print(json.dumps({"tools": Judgement.objects.get(lease__annotator__username=sys.argv[1]).tools}))
