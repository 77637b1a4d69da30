"""CPU of scoring a set of images: decoded once for all metrics, decoded for each metric, and by pyiqa.

`python -m tests.bench.metrics [--faces 8] [--size 256] [--metrics psnr ssim lpips niqe]`. Each face has its photograph
and three degraded images, as PNG files made of the demo's portraits. Both ways of this project measure batches of
eight; the second is how `score` read images before. pyiqa measures one picture at a time, and only the metrics of the
list that need no download: psnr and ssim. One thread; CPU milliseconds per image.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import cv2
import torch

from annotate.common.batches import batches
from rewardlab import images, metrics
from rewardlab.metrics.registry import METRICS
from tests.bench.machine import describe
from tests.support.preferences import WAYS, portraits, spoil

BATCH = 8
WITHOUT_DOWNLOAD = ("psnr", "ssim")
ROUNDS = 3

File = tuple[Path, Path]  # an image and its photograph


def write_files(folder: Path, faces: int, size: int) -> list[File]:
    found = []
    for number, whole in enumerate(portraits(0, faces)):
        photograph = cv2.resize(whole, (size, size), interpolation=cv2.INTER_AREA)
        for way in ("hq", *WAYS):
            path = folder / f"{number}-{way}.png"
            path.write_bytes(images.encode_png(photograph if way == "hq" else spoil(photograph, way)))
            found.append((path, folder / f"{number}-hq.png"))
    return found


def once(files: list[File], measures: dict[str, metrics.LoadedMeasure]) -> None:
    for batch in batches(files, BATCH):
        decoded = {path: images.read(path) for path in {path for pair in batch for path in pair}}
        shown, photographs = ([decoded[pair[side]] for pair in batch] for side in (0, 1))
        for name, measure in measures.items():
            _measure(name, measure, shown, photographs)


def by_metric(files: list[File], measures: dict[str, metrics.LoadedMeasure]) -> None:
    for name, measure in measures.items():
        for batch in batches(files, BATCH):
            shown = [images.read(path) for path, _ in batch]
            photographs = [images.read(path) for _, path in batch] if METRICS[name].needs_reference else []
            _measure(name, measure, shown, photographs)


def _measure(name: str, measure: metrics.LoadedMeasure, shown: list, photographs: list) -> None:
    measure(images.to_tensor(shown), images.to_tensor(photographs) if METRICS[name].needs_reference else None)


def by_pyiqa(names: list[str]) -> Callable[[list[File]], None]:
    import pyiqa

    opened = [pyiqa.create_metric(name, device="cpu") for name in names]

    def run(files: list[File]) -> None:
        for metric in opened:
            for path, photograph in files:
                metric(str(path), str(photograph))

    return run


def milliseconds(run: Callable[[], None], images_: int) -> float:
    """Return the CPU milliseconds per image, the best of some rounds after a first one."""
    run()
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        run()
        best = min(best, time.process_time() - began)
    return round(1000 * best / images_, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, default=8)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--metrics", nargs="+", default=["psnr", "ssim", "lpips", "niqe"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        files = write_files(Path(folder), options.faces, options.size)
        measures = {name: metrics.load(name, "cpu") for name in options.metrics}
        report: dict = {"machine": describe("torch", "pillow"), "images": len(files), "size": options.size}
        report["decoded once"] = milliseconds(lambda: once(files, measures), len(files))
        report["decoded by metric"] = milliseconds(lambda: by_metric(files, measures), len(files))
        report["ratio"] = round(report["decoded by metric"] / report["decoded once"], 2)
        common = [name for name in options.metrics if name in WITHOUT_DOWNLOAD]
        if common and find_spec("pyiqa"):
            theirs = by_pyiqa(common)
            few = {name: measures[name] for name in common}
            ours_ms, theirs_ms = (
                milliseconds(run, len(files)) for run in (lambda: once(files, few), lambda: theirs(files))
            )
            report["with pyiqa"] = {
                "metrics": common, "ours": ours_ms, "pyiqa": theirs_ms, "ratio": round(theirs_ms / ours_ms, 2)
            }  # fmt: skip
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
