"""Store an SVM label for every contested pair without an answer: `python -m tests.bench.reports_labels`."""

import django

django.setup()

from annotate.common.batches import batches  # noqa: E402
from annotate.models import (  # noqa: E402
    AutoLabel,
    Lease,
    Pair,
    Predictor,
)


def label() -> None:
    version = Predictor.objects.create(status=Predictor.Status.READY, sha256="0" * 64)
    judged = set(Lease.objects.filter(status=Lease.Status.ANSWERED).values_list("item__pair", flat=True))
    pairs = Pair.objects.filter(kind=Pair.Kind.CONTESTED).values_list("pk", flat=True)
    for batch in batches((pk for pk in pairs.iterator() if pk not in judged), 5000):
        AutoLabel.objects.bulk_create(AutoLabel(predictor=version, pair_id=pk, p_first=pk % 101 / 100) for pk in batch)


if __name__ == "__main__":
    label()
