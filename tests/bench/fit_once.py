"""Time one fit with the full grid search: `python -m tests.bench.fit_once` prints JSON."""

import json
import time

import django

django.setup()

from annotate.predictor.versions import fit_predictor  # noqa: E402


def timed_fit() -> dict:
    started = time.monotonic()
    version = fit_predictor(grid=True)
    return {
        "labels": version.labels,
        "features": 2 * len(version.features),
        "parameters": version.parameters,
        "cv_accuracy": round(version.cv_accuracy or 0, 4),
        "pairs_labelled": version.pairs_labelled,
        "grid_fit_and_label_s": round(time.monotonic() - started, 2),
    }


if __name__ == "__main__":
    print(json.dumps(timed_fit()))
