"""Time the comparison of long runs: `python -m tests.bench.compare_runs [--steps 20000] [--runs 3]`.

Tunings that write every step, read as JSON and by the page in this process: first, and again when their curves are kept
in memory. Prints seconds of the CPU, bytes before compression, and points of the longest curve.
"""

import argparse
import atexit
import json
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

import django

os.environ["DATA_ROOT"] = tempfile.mkdtemp(prefix="diffusionreward-bench-")
atexit.register(shutil.rmtree, os.environ["DATA_ROOT"])
os.environ["DEBUG"] = "1"  # style sheets and scripts need not be collected
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "annotate.settings")
django.setup()

from django.conf import settings  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.test import Client  # noqa: E402

from annotate.models import User  # noqa: E402
from tests.bench.machine import describe  # noqa: E402
from tests.support.run_folders import held_out, tuning_step, write_folder  # noqa: E402


def write_run(root: Path, name: str, steps: int) -> None:
    noise = random.Random(name)
    curve = [held_out(0)]
    for step in range(1, steps + 1):
        curve.append(tuning_step(step) | {"loss": noise.random(), "reward": noise.random()})
        if step % 500 == 0:
            curve.append(held_out(step))
    write_folder(root, name, "refl", curve=curve)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    names = [f"run-{number}" for number in range(options.runs)]
    for name in names:
        write_run(Path(settings.RUN_ROOT), name, options.steps)
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_superuser("lead", password="a password of a bench"))
    query = "&".join(f"run={name}" for name in names)
    found = {}
    for what, address in (
        ("JSON, first", f"/runs/compare.json?{query}"),
        ("JSON, again, smoothed", f"/runs/compare.json?{query}&smooth=100"),
        ("page", f"/runs/compare?{query}"),
    ):
        start = time.process_time()
        response = client.get(address)
        assert response.status_code == 200, response.status_code
        found[what] = {"seconds": round(time.process_time() - start, 3), "bytes": len(response.content)}
        if what == "JSON, first":
            lines = [line for figure in response.json()["figures"] for line in figure["lines"]]
            found["points"] = max(len(line["points"][0]) for line in lines)
    print(json.dumps({"machine": describe("django", "numpy"), "steps": options.steps, "runs": options.runs} | found))


if __name__ == "__main__":
    main()
