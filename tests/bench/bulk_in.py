"""CPU of bringing faces in: photographs with captions, degraded images, three given restorations, and pairs.

`python -m tests.bench.bulk_in [--faces 500 1000 2000] [--baseline COMMIT] [--size 128]` writes pictures, made of the
demo's portraits, and runs the commands that store them, each in its own process. CPU is user and system time of the
process, less that of the same command with one face, and is given per face. `--baseline` runs the same commands in a
worktree of an earlier commit, with the first number of faces.

decode: reading the files that the commands read. compute: YuNet on the photograph in four turns, and Eq. 9, which both
commits do. encode: PNG of the stored images. The three are measured apart, on the same pictures; rest is what remains.
"""

import argparse
import csv
import io
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from refl.degradation import DegradeConfig, degrade, sample_parameters
from rewardlab import face_alignment, images
from tests.bench.machine import describe
from tests.support.upload_forms import portraits

ROOT = Path(__file__).parents[2]
RESTORERS = ("alpha", "beta", "gamma")
SAMPLE = 60  # pictures of which the parts are measured


def write_pictures(folder: Path, count: int, size: int) -> None:
    """Write photographs, results of three restorers and a table of captions. No two pictures are equal."""
    sources = [_square(images.read(path), size) for path in portraits(40)]
    random = np.random.default_rng(0)
    for part in ("hq", *RESTORERS):
        (folder / part).mkdir(parents=True)
    with (folder / "captions.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("path", "caption"))
        for number in range(count):
            name, face = f"{number:06d}.png", sources[number % len(sources)]
            shade = random.integers(-20, 21, 3) + random.normal(0, 1, face.shape)
            photograph = np.clip(face + shade, 0, 255).astype(np.uint8)
            Image.fromarray(photograph).save(folder / "hq" / name, compress_level=1)
            for strength, restorer in enumerate(RESTORERS, start=1):
                blurred = cv2.GaussianBlur(photograph, (0, 0), 0.5 * strength)
                Image.fromarray(blurred).save(folder / restorer / name, compress_level=1)
            table.writerow((name, f"A portrait, number {number}."))


def _square(array: images.Pixels, size: int) -> images.Pixels:
    side = min(array.shape[:2])
    return cv2.resize(array[:side, :side], (size, size), interpolation=cv2.INTER_AREA)


def commands(folder: Path, size: int) -> dict[str, list[str]]:
    given = [f"--from-folder={name}={folder / name}" for name in RESTORERS]
    ingest = ["ingest", str(folder / "hq"), "--aligned", "--size", str(size), "--dataset", "bench", "--split", "train"]
    return {
        "ingest": [*ingest, "--skip-bad"],
        "captions": ["caption", "--backend", "file", "--from", str(folder / "captions.csv"), "--skip-bad"],
        "degrade": ["degrade"],
        "restorations": ["restore", *given, "--skip-bad"],
        "pairs": ["build_pairs", "--skip-bad"],
    }


def run(tree: Path, data: Path, words: list[str]) -> tuple[float, float]:
    """Run a command of the source tree. Return its CPU seconds and its wall-clock seconds."""
    environment = os.environ | {"DATA_ROOT": str(data), "PYTHONPATH": str(tree)}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "manage.py", *words], cwd=tree, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.perf_counter() - began


def measure(tree: Path, pictures: Path, single: Path, count: int, size: int) -> dict[str, dict[str, float]]:
    """Return CPU and wall-clock milliseconds per face of each command. single: pictures of one face."""
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryDirectory() as base:
        found = {}
        for folder in (data, base):
            run(tree, Path(folder), ["migrate"])
        for name, words in commands(pictures, size).items():
            many, one = run(tree, Path(data), words), run(tree, Path(base), commands(single, size)[name])
            found[name] = {
                kind: round(1000 * (of_many - of_one) / (count - 1), 2)
                for kind, of_many, of_one in zip(("cpu_ms", "wall_ms"), many, one, strict=True)
            }
        found["all"] = {kind: round(sum(one[kind] for one in found.values()), 2) for kind in ("cpu_ms", "wall_ms")}
        return found


def parts(pictures: Path, size: int, encode: Callable[[images.Pixels], bytes]) -> dict[str, float]:
    """Return CPU milliseconds per face of decoding, computing and encoding, and the bytes of its images.

    A face is decoded five times (its photograph, this again for degrade, three results) and encoded five times.
    """
    names = [path.name for path in sorted((pictures / "hq").iterdir())[:SAMPLE]]
    files = [[(pictures / part / name).read_bytes() for part in ("hq", "hq", *RESTORERS)] for name in names]
    decode_ms, arrays = timed(lambda: [[images.decode(data) for data in face] for face in files])
    compute_ms, _ = timed(lambda: [compute(face[0], size) for face in arrays])
    encode_ms, encoded = timed(lambda: [[encode(array) for array in face] for face in arrays])
    return {
        "decode_ms": decode_ms,
        "compute_ms": compute_ms,
        "encode_ms": encode_ms,
        "bytes": round(sum(len(data) for face in encoded for data in face) / len(files)),
    }


def compute(photograph: images.Pixels, size: int) -> None:
    face_alignment.align_prealigned(photograph, size)
    config = DegradeConfig().scaled_to(size)
    degrade(photograph, sample_parameters(config, 0), config)


def timed(function: Callable[[], list]) -> tuple[float, list]:
    began = time.process_time()
    found = function()
    return round(1000 * (time.process_time() - began) / len(found), 2), found


def zlib_encoding(array: images.Pixels) -> bytes:
    """Encode as versions before 0.3 did."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run(["git", "worktree", "add", "--detach", str(tree), commit], cwd=ROOT, check=True)
        try:
            yield tree
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(tree)], cwd=ROOT, check=True)


def split(total: float, of: dict[str, float]) -> dict[str, float]:
    rest = total - of["decode_ms"] - of["compute_ms"] - of["encode_ms"]
    return of | {"rest_ms": round(rest, 2), "total_ms": total}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faces", type=int, nargs="+", default=[500, 1000, 2000])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--baseline", metavar="COMMIT", help="an earlier commit to compare with")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    report: dict = {"machine": describe("pillow", "opencv-python-headless", "django"), "size": options.size}
    with tempfile.TemporaryDirectory() as folder:
        single = Path(folder) / "1"
        write_pictures(single, 1, options.size)
        for count in options.faces:
            pictures = Path(folder) / str(count)
            write_pictures(pictures, count, options.size)
            found = measure(ROOT, pictures, single, count, options.size)
            entry = report[f"{count} faces"] = {"commands": found}
            if count == options.faces[0]:
                now = split(found["all"]["cpu_ms"], parts(pictures, options.size, images.encode_png))
                entry["per face"] = now
                if options.baseline:
                    with worktree(options.baseline) as tree:
                        earlier = measure(tree, pictures, single, count, options.size)
                    before = split(earlier["all"]["cpu_ms"], parts(pictures, options.size, zlib_encoding))
                    report["baseline"] = {"commit": options.baseline, "commands": earlier, "per face": before}
                    report["ratios"] = ratios(before, now)
            print(json.dumps(report, indent=1), flush=True)


def ratios(before: dict[str, float], now: dict[str, float]) -> dict[str, float]:
    """Return how many times cheaper each part is."""

    def stored(of: dict[str, float]) -> float:
        return of["encode_ms"] + of["rest_ms"]

    return {
        "encode": round(before["encode_ms"] / now["encode_ms"], 2),
        "rest": round(before["rest_ms"] / now["rest_ms"], 2),
        "encode and rest": round(stored(before) / stored(now), 2),
        "all but decoding": round((before["total_ms"] - before["decode_ms"]) / (now["total_ms"] - now["decode_ms"]), 2),
        "all": round(before["total_ms"] / now["total_ms"], 2),
        "bytes": round(now["bytes"] / before["bytes"], 3),
    }


if __name__ == "__main__":
    main()
