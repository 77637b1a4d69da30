"""Print the rows of a database by content, without keys and times, as JSON: `python -m tests.support.contents`."""

import json

import django

django.setup()

from annotate.common import image_store  # noqa: E402
from annotate.models import (  # noqa: E402
    Candidate,
    Face,
    Pair,
    Score,
)


def contents() -> dict:
    return {
        "faces": sorted(Face.objects.values_list("source_sha256", "split", "seed", "caption")),
        "candidates": sorted(Candidate.objects.values_list("face__source_sha256", "source", "sha256")),
        "pairs": sorted(Pair.objects.values_list("first__sha256", "second__sha256", "kind")),
        "scores": sorted(
            (sha256, metric, round(value, 4))
            for sha256, metric, value in Score.objects.values_list("candidate__sha256", "metric", "value")
        ),
        "files_missing": [c.relative_path for c in Candidate.objects.all() if not image_store.exists(c.sha256)],
    }


if __name__ == "__main__":
    print(json.dumps(contents()))
