"""Train a reward model on the full demo, from photographs to tables: `python -m tests.bench.frm_demo [FOLDER]`.

120 faces are gold (360 contested pairs); the others are for training. Labels are by SIMULATED annotators. All data is
in FOLDER, so an interrupted run can be resumed. On 2 cores restoring and scoring take half an hour, before the
trainings.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

FOLDER = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="frm-demo-"))
os.environ["DATA_ROOT"] = str(FOLDER)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "annotate.settings")

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402

from annotate.demo import portraits  # noqa: E402
from annotate.models import Face  # noqa: E402
from annotate.pipeline import ingest  # noqa: E402
from annotate.pipeline.sources import Source  # noqa: E402
from rewardlab.training import runs  # noqa: E402
from tests.bench.machine import describe  # noqa: E402

GOLD_FACES = 120
RUN = "demo"


def ingest_split(sources: list[Source], split: str) -> None:
    config = ingest.IngestConfig(size=portraits.SIZE, shares={split: 1.0})
    for _ in ingest.ingest(sources, config=config):
        pass


def ingest_portraits() -> None:
    sources = portraits.demo_sources(609)
    while sources and (missing := GOLD_FACES - Face.objects.filter(split="gold").count()) > 0:
        ingest_split(sources[:missing], "gold")
        sources = sources[missing:]
    ingest_split(sources, "train")


def main() -> None:
    print(describe(), flush=True)
    print(f"data folder: {FOLDER}", flush=True)
    train = ("train_frm", "--run", RUN, "--backbone", "compact")
    steps = (
        ("migrate", "--verbosity", "0"),
        ingest_portraits,
        ("caption",),
        ("degrade", "--preset", "demo"),
        ("restore",),
        ("build_pairs",),
        ("score", "--metrics", "ssim", "psnr", "lpips", "niqe"),
        ("simulate_annotators", "--as-labels", "--annotators", "5", "--overlap", "3"),
        ("fit_predictor",),
        None if runs.open_run(FOLDER / "runs", RUN).is_done() else train,
        ("evaluate_frm", RUN, "--null-text", "--human-fraction", "0", "0.5", "1"),
    )
    for step in filter(None, steps):
        started = time.perf_counter()
        if callable(step):
            step()
        else:
            call_command(*step)
        name = step.__name__ if callable(step) else " ".join(step)
        print(f"-- {name}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
