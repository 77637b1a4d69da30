"""Stages with one worker, with several, and on a Ray cluster: seconds of the whole command, and whether the rows agree.

`python -m tests.bench.stages --faces 24 --workers 1 2` restores and scores the demo's portraits with each number of
workers in turn, `--rounds` times. With `--ray` it also runs two workers of a Ray that it starts on this machine. The
ratio is the time of one worker divided by the time of several, each the shortest of its rounds.
"""

import argparse
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rewardlab import assets
from tests.bench.machine import describe
from tests.support.servers import ROOT

STAGES = {
    "restore": ("restore", "--restorer", "dat-light"),
    "score": ("score", "--metrics", "lpips", "niqe"),
}
UNDO = {
    "restore": "DELETE FROM annotate_candidate WHERE source = 'dat-light'",
    "score": "DELETE FROM annotate_score",
}
RESULT = {
    "restore": "SELECT face_id, sha256 FROM annotate_candidate WHERE source = 'dat-light' ORDER BY face_id",
    "score": "SELECT candidate_id, metric, value FROM annotate_score ORDER BY candidate_id, metric",
}


class Site:
    """A site of its own with degraded portraits."""

    def __init__(self, folder: Path, faces: int, size: int) -> None:
        self.folder = folder
        photographs = folder / "photographs"
        photographs.mkdir()
        for portrait in sorted(assets.find("demo-faces").glob("*.jpg"))[:faces]:
            shutil.copy(portrait, photographs)
        self.run("migrate")
        self.run("ingest", str(photographs), "--size", str(size), "--skip-bad")
        self.run("degrade")

    def run(self, *words: str, **variables: str) -> float:
        """Run a command and return its seconds."""
        environment = os.environ | {"DATA_ROOT": str(self.folder / "data")} | variables
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "manage.py", *words], cwd=ROOT, env=environment, check=True, capture_output=True
        )
        return time.perf_counter() - began

    def query(self, sql: str) -> list[tuple]:
        with sqlite3.connect(self.folder / "data" / "db.sqlite3") as database:
            return database.execute(sql).fetchall()

    def undo(self, stage: str) -> None:
        """Forget what a stage computed, with its images."""
        if stage == "restore":
            for _, sha256 in self.query(RESULT[stage]):
                (self.folder / "data" / "media" / sha256[:2] / f"{sha256}.png").unlink(missing_ok=True)
        self.query(UNDO[stage])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=24)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ray", action="store_true")
    options = parser.parse_args()
    kinds = {f"{number} local": ["--workers", str(number)] for number in options.workers}
    if options.ray:
        kinds["2 ray"] = ["--workers", "2", "--engine", "ray"]
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder), options.faces, options.size)
        for stage, words in STAGES.items():
            seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
            results: dict[str, list[tuple]] = {}
            for _ in range(options.rounds):
                for kind, more in kinds.items():
                    site.undo(stage)
                    seconds[kind].append(site.run(*words, *more, RAY_ADDRESS="local"))
                    results[kind] = site.query(RESULT[stage])
            first, *_ = kinds
            found[stage] = {
                kind: {
                    "seconds": round(min(of), 2),
                    "ratio": round(min(seconds[first]) / min(of), 2),
                    "rows": len(results[kind]),
                    "equal": results[kind] == results[first],
                }
                for kind, of in seconds.items()
            }
    machine = describe("torch", *(["ray"] if options.ray else [])) | {"load": os.getloadavg()[0]}
    print(json.dumps({"machine": machine, "faces": options.faces, "size": options.size} | found, indent=2))


if __name__ == "__main__":
    main()
