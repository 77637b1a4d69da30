"""Print the state of the predictor as JSON: `python -m tests.support.predictor_state`."""

import json

import django

django.setup()

from annotate.models import (  # noqa: E402
    AutoLabel,
    Lease,
    Predictor,
)
from annotate.predictor import status as predictor_status  # noqa: E402


def state() -> dict:
    current = predictor_status.current_predictor()
    return {
        "ready": current is not None,
        "waiting": predictor_status.labels_wait(),
        "newest": predictor_status.newest_judgement_id(),
        "used": current.last_judgement_id if current else 0,
        "labelled": AutoLabel.objects.filter(predictor=current).count() if current else 0,
        "judged": Lease.objects.filter(status="answered").count(),
        "versions": Predictor.objects.count(),
        "failures": list(Predictor.objects.exclude(error="").values_list("error", flat=True)),
    }


if __name__ == "__main__":
    print(json.dumps(state()))
