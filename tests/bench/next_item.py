"""Next and submit over HTTP: `python -m tests.bench.next_item [--database postgres] [--faces 19590]`.

117,540 pairs with 1 and with 8 annotators, against the same load on a campaign of 600 pairs in the same run (what
the number of pairs adds), with the count of doubled, lost and over-assigned judgements.
"""

import argparse
import json
import time

from tests.bench.machine import describe, percentiles
from tests.load import Client, run_clients
from tests.servers import Deployment

PAIRS_PER_FACE = 6
SMALL = 100  # faces


def measure(database: str, faces: int, answers: int) -> dict:
    with Deployment(database) as site:
        started = time.monotonic()
        seeded = site.ask("tests.bench.seed", "--faces", str(faces), "--annotators", "9")
        result: dict = {"pairs": seeded["items"], "seed_seconds": round(time.monotonic() - started, 1)}
        site.start_web()
        acknowledged: list[str] = []
        for name, tokens in (("1 annotator", seeded["tokens"][:1]), ("8 annotators", seeded["tokens"][1:])):
            clients = [
                Client(site.port, token, answers=answers // len(tokens), seed=n) for n, token in enumerate(tokens)
            ]
            started = time.monotonic()
            tallies = run_clients(clients)
            seconds = time.monotonic() - started
            acknowledged += [key for tally in tallies for key in tally.acknowledged]
            result[name] = {
                "next_ms": percentiles([t for tally in tallies for t in tally.next_seconds]),
                "submit_ms": percentiles([t for tally in tallies for t in tally.submit_seconds]),
                "answers_per_second": round(sum(len(tally.acknowledged) for tally in tallies) / seconds, 1),
            }
        stored = site.ask("tests.bench.audit")
    return result | {
        "acknowledged": len(acknowledged),
        "stored": len(stored["keys"]),
        "lost": len(set(acknowledged) - set(stored["keys"])),
        **{name: stored[name] for name in ("doubled", "over_assigned", "slots_wrong", "counters_wrong")},
    }


def growth(small: dict, large: dict) -> dict:
    """p50 on the large campaign over p50 on the small one."""
    return {
        f"{who}, {what}": round(large[who][what]["p50"] / small[who][what]["p50"], 2)
        for who in ("1 annotator", "8 annotators")
        for what in ("next_ms", "submit_ms")
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--faces", type=int, default=19_590)
    parser.add_argument("--answers", type=int, default=480)
    options = parser.parse_args()
    small = measure(options.database, SMALL, min(options.answers, SMALL * PAIRS_PER_FACE // 2))
    large = measure(options.database, options.faces, options.answers)
    report = {
        "machine": describe("Django", "gunicorn", "psycopg"),
        "database": options.database,
        "small": small,
        "large": large,
        "growth": growth(small, large),
    }
    print(json.dumps(report, indent=2))
