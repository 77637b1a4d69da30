"""Latency of next and submit over HTTP: `python -m tests.bench.desk [--database postgres] [--pairs 117540 1000000]`.

Loads: one annotator; 20 at the pace of a fast person; 20 without pauses. They request one or four pairs at a time. The
same loads run on a campaign of 600 pairs, to show how latency grows with the number of pairs. Also reported: queries
per request, the indexes that find the next item, the time when no item is left, the memory of a web process, and the
numbers of duplicate, lost and over-assigned judgements.
"""

import argparse
import json
import re
import time
from pathlib import Path

from tests.bench.machine import describe, percentiles
from tests.support.load import Client, run_clients
from tests.support.servers import Deployment, children_of

PAIRS_PER_FACE = 6
SMALL = 600
ANNOTATORS = 20
LOADS = (  # name, annotators, depth, answers per annotator, seconds before an answer
    ("1 annotator, 1 ahead", 1, 1, 60, 0),
    ("1 annotator, 4 ahead", 1, 4, 60, 0),
    ("20, an answer every 2 s, 4 ahead", ANNOTATORS, 4, 10, 2),
    ("20 without pause, 1 ahead", ANNOTATORS, 1, 10, 0),
    ("20 without pause, 4 ahead", ANNOTATORS, 4, 10, 0),
)


def measure(database: str, pairs: int) -> dict:
    with Deployment(database) as site:
        started = time.monotonic()
        faces = str(pairs // PAIRS_PER_FACE)
        seeded = site.ask(
            "tests.bench.seed",
            "--faces",
            faces,
            "--annotators",
            str(3 * ANNOTATORS + 3),
            "--overlap",
            "2",
            "--repeat-share",
            "0.05",
        )
        result: dict = {"pairs": seeded["items"], "seed_seconds": round(time.monotonic() - started, 1)}
        web = site.start_web()
        tokens, acknowledged = iter(seeded["tokens"]), []
        for name, annotators, depth, answers, pause in LOADS:
            clients = [
                Client(site.port, next(tokens), answers=answers, depth=depth, pause=pause, seed=n)
                for n in range(annotators)
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
        result["web_process_mb"] = max(map(peak_memory, children_of(web.pid)))
        stored = site.ask("tests.bench.audit")
        result |= site.ask("tests.bench.desk_queries", next(tokens))
    return result | {
        "acknowledged": len(acknowledged),
        "stored": len(stored["keys"]),
        "lost": len(set(acknowledged) - set(stored["keys"])),
        **{name: stored[name] for name in ("doubled", "over_assigned", "slots_wrong", "counters_wrong")},
    }


def peak_memory(pid: int) -> float:
    """Return the peak resident memory of a process in megabytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return round(int(found[1]) / 1000, 1)


def growth(small: dict, large: dict) -> dict:
    """Return the ratios of p50 on the large campaign to p50 on the small one."""
    ratios = {
        f"{name}, {what}": round(large[name][what]["p50"] / small[name][what]["p50"], 2)
        for name, *_ in LOADS
        for what in ("next_ms", "submit_ms")
    }
    return ratios | {"nothing left": round(large["nothing_left_ms"] / small["nothing_left_ms"], 2)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--pairs", type=int, nargs="+", default=[117_540, 1_000_000])
    options = parser.parse_args()
    small = measure(options.database, SMALL)
    report = {"machine": describe("Django", "waitress", "psycopg"), "database": options.database, "small": small}
    for pairs in options.pairs:
        large = measure(options.database, pairs)
        report |= {f"{pairs:,}": large, f"growth to {pairs:,}": growth(small, large)}
    print(json.dumps(report, indent=2))
