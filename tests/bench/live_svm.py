"""Time from an answer until the worker has relabelled all pairs, compared with a full grid search.

`python -m tests.bench.live_svm [--database postgres]`: 3,600 labels, 58,770 contested pairs, 12 features. Also measured
is the memory of the worker after refits, and when it has had nothing to do for a while.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.machine import describe
from tests.support.load import Client, run_clients
from tests.support.servers import ROOT, Deployment, family_of

REST_SECONDS = 75  # the worker gives memory back after a minute without tasks


class LabelWaiter:
    """A process with an open database connection that responds when the predictor has used every answer."""

    def __init__(self, site: Deployment) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.wait_for_labels"],
            cwd=ROOT, env=site.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def seconds_until_relabelled(self, client: Client) -> float:
        """Submit one answer over HTTP. Return the seconds from its acknowledgement to the last new label."""
        run_clients([client])
        started = time.monotonic()
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.process.stdout.readline()
        return time.monotonic() - started


def resident_mb(supervisor: int) -> dict[str, float]:
    """Return the resident memory of the worker with its supervisor, and of the two processes that run tasks."""
    sizes = [int(re.findall(r"VmRSS:\s+(\d+) kB", status_of(pid))[0]) / 1000 for pid in family_of(supervisor)]
    return {"all": round(sum(sizes)), "task processes": round(sum(sorted(sizes[2:])[-2:]))}


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--faces", type=int, default=19_590)
    parser.add_argument("--labels", type=int, default=3600)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with Deployment(options.database) as site:
        seeded = site.ask(
            "tests.bench.seed", "--faces", str(options.faces), "--annotators", "4", "--contested-only", "--scores",
            "--labels", str(options.labels),
        )  # fmt: skip
        grid = site.ask("tests.bench.fit_once")
        site.start_web()
        worker = site.start_worker()
        waiter, token = LabelWaiter(site), seeded["tokens"][3]
        waiter.seconds_until_relabelled(Client(site.port, token, answers=1))  # the worker loads scikit-learn
        live = [waiter.seconds_until_relabelled(Client(site.port, token, answers=1)) for _ in range(options.repeats)]
        waiter.process.kill()
        memory = {"after_refits": resident_mb(worker.pid)}
        time.sleep(REST_SECONDS)
        memory["at_rest"] = resident_mb(worker.pid)
    median = statistics.median(live)
    report = {
        "machine": describe("Django", "scikit-learn", "numpy"),
        "database": options.database,
        "contested_pairs": seeded["items"],
        **grid,
        "label_to_all_relabelled_s": {
            "median": round(median, 2),
            "min": round(min(live), 2),
            "max": round(max(live), 2),
        },
        "speed_up_over_grid_each_time": round(grid["grid_fit_and_label_s"] / median, 1),
        "worker_mb": memory,
    }
    print(json.dumps(report, indent=2))
