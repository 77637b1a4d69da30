"""8 clients judge while web processes are killed with -9: `python -m tests.bench.killed_web [--database postgres]`."""

import argparse
import json
import threading

from tests.load import Client, run_clients
from tests.servers import Deployment

CLIENTS = 8
SECONDS_BETWEEN_KILLS = 1.5


def judge_under_kills(database: str, *, faces: int, overlap: int = 2) -> dict:
    """Judge all contested pairs of so many faces and count what was acknowledged, stored, doubled and lost."""
    with Deployment(database) as site:
        seeded = site.ask(
            "tests.bench.seed", "--faces", str(faces), "--annotators", str(CLIENTS), "--overlap", str(overlap),
            "--contested-only",
        )  # fmt: skip
        web = site.start_web()
        stop, kills = threading.Event(), []

        def kill_again_and_again() -> None:
            while not stop.wait(SECONDS_BETWEEN_KILLS):
                kills.append(site.kill_one_web_process(web))

        killer = threading.Thread(target=kill_again_and_again)
        killer.start()
        tallies = run_clients([Client(site.port, token, seed=n) for n, token in enumerate(seeded["tokens"])])
        stop.set()
        killer.join()
        stored = site.ask("tests.bench.audit")
    acknowledged = [key for tally in tallies for key in tally.acknowledged]
    return {
        "database": database,
        "clients": CLIENTS,
        "finished": sum(tally.finished for tally in tallies),
        "kills": len([kill for kill in kills if kill]),
        "requests_cut_off_and_repeated": sum(tally.retries for tally in tallies),
        "wanted": seeded["items"] * overlap,
        "acknowledged": len(acknowledged),
        "stored": len(stored["keys"]),
        "lost": len(set(acknowledged) - set(stored["keys"])),
        "stored_but_never_acknowledged": len(set(stored["keys"]) - set(acknowledged)),
        "acknowledged_twice": len(acknowledged) - len(set(acknowledged)),
        **{name: stored[name] for name in ("doubled", "over_assigned", "slots_wrong", "counters_wrong")},
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--faces", type=int, default=300)
    options = parser.parse_args()
    print(json.dumps(judge_under_kills(options.database, faces=options.faces), indent=2))
