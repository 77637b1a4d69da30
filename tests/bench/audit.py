"""Check a database after a load: `python -m tests.bench.audit` prints the stored keys and violations as JSON."""

import json

import django

django.setup()

from django.db.models import Count, F, Q, Sum  # noqa: E402

from annotate.models import (  # noqa: E402
    Item,
    Judgement,
    Lease,
    Membership,
)


def audit() -> dict:
    taken = Count("leases", filter=Q(leases__status__in=["held", "answered"], leases__is_repeat=False))
    items = Item.objects.annotate(taken=taken)
    answered = Lease.objects.filter(status="answered")
    counted = Membership.objects.aggregate(answered=Sum("answered"), repeated=Sum("repeated"))
    last = Judgement.objects.order_by("-pk").values_list("lease__annotator", flat=True)[:20]
    return {
        "keys": [str(key) for key in Judgement.objects.values_list("key", flat=True)],
        "repeats": answered.filter(is_repeat=True).count(),
        "annotators_at_the_end": len(set(last)),
        "doubled": Lease.objects.annotate(n=Count("judgements")).filter(n__gt=1).count(),
        "over_assigned": items.filter(taken__gt=F("campaign__overlap")).count(),
        "slots_wrong": items.exclude(open_slots=F("campaign__overlap") - F("taken")).count(),
        "counters_wrong": abs(answered.filter(is_repeat=False).count() - counted["answered"])
        + abs(answered.filter(is_repeat=True).count() - counted["repeated"]),
    }


if __name__ == "__main__":
    print(json.dumps(audit()))
