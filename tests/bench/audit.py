"""What a database holds after a load: `python -m tests.bench.audit` prints JSON."""

import json

import django

django.setup()

from django.db.models import Count, F, Q  # noqa: E402

from annotate.models import Item, Judgement, Lease, Membership  # noqa: E402


def audit() -> dict:
    taken = Count("leases", filter=Q(leases__status__in=["held", "answered"]))
    items = Item.objects.annotate(taken=taken)
    return {
        "keys": [str(key) for key in Judgement.objects.values_list("key", flat=True)],
        "doubled": Lease.objects.annotate(n=Count("judgements")).filter(n__gt=1).count(),
        "over_assigned": items.filter(taken__gt=F("campaign__overlap")).count(),
        "slots_wrong": items.exclude(open_slots=F("campaign__overlap") - F("taken")).count(),
        "counters_wrong": abs(
            Lease.objects.filter(status="answered").count() - sum(Membership.objects.values_list("answered", flat=True))
        ),
    }


if __name__ == "__main__":
    print(json.dumps(audit()))
