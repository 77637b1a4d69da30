"""Database load of a request: `python -m tests.bench.desk_queries TOKEN` prints JSON.

It reports queries per request, the indexes that find the next item, and the time when no item is left.
"""

import json
import re
import sys
import time
import uuid
from statistics import median

import django

django.setup()

from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from annotate.models import (  # noqa: E402
    Campaign,
    Item,
    Lease,
)
from tests.support.load import NEXT  # noqa: E402

ROUNDS = 20


def measure(token: str) -> dict:
    client = Client(headers={"Authorization": f"Token {token}"}, SERVER_NAME="localhost")
    client.get("/health")  # open the database connection

    def ask(path: str, body: dict) -> tuple[dict, list[str]]:
        with CaptureQueriesContext(connection) as queries:
            response = client.post(path, json.dumps(body), content_type="application/json")
        assert response.status_code in (200, 201, 204), response.content
        statements = [query["sql"] for query in queries.captured_queries]
        return (response.json() if response.content else {}), statements

    def submit(item: dict) -> list[str]:
        answer = {"item": item["item"], "lease": item["lease"], "key": str(uuid.uuid4()), "choice": "cant_tell"}
        return ask("/api/v1/judgements", answer)[1]

    item, first = ask(NEXT, {})
    answered = submit(item)
    _, four = ask(NEXT, {"depth": 4})
    # Close all other items, to measure a request that finds none.
    Lease.objects.filter(status="held").update(status="expired")
    Lease.objects.filter(status="planned").delete()
    Item.objects.update(open_slots=0)
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        _, nothing = ask(NEXT, {})
        times.append(time.perf_counter() - started)
    return {
        "queries": {"next": len(first), "next of 4": len(four), "submit": len(answered), "nothing left": len(nothing)},
        "nothing_left_ms": round(1000 * median(times), 2),
        "indexes": indexes(),
    }


def indexes() -> dict[str, str]:
    """Return the index that the query planner uses for each way to find the next item."""
    open_items = Item.objects.filter(campaign=Campaign.objects.get(), open_slots__gt=0)
    ways = {
        "ahead": open_items.filter(position__gt=0).order_by("position"),
        "given back": open_items.filter(given_back=True).order_by("position"),
        "audit": open_items.filter(audit=True, position__gt=0).order_by("position"),
        "ranked": open_items.filter(rank__isnull=False).order_by("rank"),
    }
    return {
        name: ", ".join(sorted(set(re.findall(r"\b(?:item_\w+_idx|Seq Scan|SCAN)\b", items[:1].explain()))))
        for name, items in ways.items()
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1])))
